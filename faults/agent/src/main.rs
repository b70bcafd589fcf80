//! `firedrill-agent`: speaks [`firedrill_agent::protocol`] on standard input and output, and logs to standard error.

use std::process::ExitCode;

use firedrill_agent::deeds::pause;
use firedrill_agent::disk::{self, trial};
use firedrill_agent::{guard, heal, hog, log, lookup, names, serve, wire};
use firedrill_sys::process::EndSignals;

fn main() -> ExitCode {
    let signals = match EndSignals::block() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("blocking signals: {error}")),
    };
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        // The guard leaves the signals blocked: it ends when its agent does.
        Some(guard::ARGUMENT) => match guard::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(refusal) => failed(&refusal.to_string()),
        },
        Some(pause::ARGUMENT) => match pause::hold() {
            Ok(()) => ExitCode::SUCCESS,
            Err(refusal) => failed(&refusal.to_string()),
        },
        // The wire ends with its agent's pipe as well.
        Some(wire::ARGUMENT) => match wire::run::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("the wire: {error}")),
        },
        Some(hog::ARGUMENT) => match hog::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.to_string()),
        },
        Some(heal::ARGUMENT) => match heal::run(&second()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => failed("not everything could be undone"),
            Err(error) => failed(&format!("healing: {error}")),
        },
        Some(disk::ARGUMENT) => ended(disk::run(&second())),
        Some(lookup::ARGUMENT) => ended(lookup::run(&second())),
        Some(names::ARGUMENT) => ended(names::run(&second())),
        Some(trial::ARGUMENT) => ended(trial::run(&second())),
        None => match serve::run(signals) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => failed("not everything could be undone"),
            Err(error) => failed(&error.to_string()),
        },
        Some(other) => failed(&format!("unknown argument `{other}`: the agent is started by firedrill, without any")),
    }
}

fn second() -> String {
    std::env::args().nth(2).unwrap_or_default()
}

fn ended<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    log::say(why);
    ExitCode::FAILURE
}
