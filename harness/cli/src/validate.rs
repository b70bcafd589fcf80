//! `firedrill validate`: whether files can be used, and everything that keeps them from it.

use std::process::ExitCode;

use firedrill_core::verdict::exit;
use firedrill_reports::console::Paint;
use firedrill_scenarios::Overrides;

use crate::args::ValidateArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::{loaded, output};

/// One line for each good file; the mistakes of the others. Exit code 0, or 2 if any file has a mistake.
pub(crate) fn validate(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    let style = Terminal::stdout().style;
    let overrides = Overrides { platform: args.platform.clone(), ..Overrides::default() };
    let mut code = exit::PASS;
    for read in loaded::read(&args.scenarios, &overrides)? {
        match read {
            Ok(scenario) => {
                let text = format!("{}  {}", scenario.file, scenario.name);
                output::print(&format!("{}  {}\n", style.paint(Paint::Good, "OK"), style.text(&text)));
            }
            Err(broken) => {
                loaded::print_mistakes(&broken);
                code = exit::USAGE;
            }
        }
    }
    Ok(ExitCode::from(code))
}
