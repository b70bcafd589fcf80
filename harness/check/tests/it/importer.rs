//! What must hold of any bytes that an importer is given. The fuzz targets use this file, too.

use firedrill_check::crew::Crew;
use firedrill_check::history::{self, Loaded, Unloaded};
use firedrill_check::limits::Watch;
use firedrill_check::txn::{self, Model};
use firedrill_check::weak::{self, Level};

/// Reads it or says where it is wrong; what is read is the same in little memory, and after it was written as Jepsen would.
pub(crate) fn any_bytes(bytes: &[u8]) {
    let (tree, packed) = (history::load(bytes), history::load_packed(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        side_by_side(text, &tree);
        for model in [Model::ListAppend, Model::RwRegister] {
            judged(text, model, &tree);
        }
    }
    match (tree, packed) {
        (Ok(tree), Ok(packed)) => {
            assert_eq!((tree.format, tree.ops.len()), (packed.format, packed.len()));
            for (mut left, right) in tree.ops.iter().cloned().zip(packed.ops()) {
                (left.index, left.time) = (None, None);
                assert_eq!(left, right);
            }
            if let Err(refusal) = history::calls(&tree) {
                assert!(tree.ops.iter().any(|op| op.line == refusal.line), "{refusal}");
            }
            written_again(&tree);
        }
        (Err(left), Err(right)) => {
            assert_eq!(left, right);
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&left.line) && left.column >= 1, "{left}");
        }
        (left, right) => panic!("{left:?}\n{right:?}"),
    }
}

/// Several threads read the same, or refuse it in the same words, wherever the text is cut.
fn side_by_side(text: &str, tree: &Result<Loaded, history::ImportError>) {
    for crew in [Crew { threads: 2, piece: 1 }, Crew { threads: 3, piece: text.len() / 3 + 1 }] {
        let shared = history::load_text_by(text, crew, &mut Watch::unlimited());
        assert_eq!(shared, tree.clone().map_err(Unloaded::Mistake));
        let packed = history::load_packed_text_by(text, crew, &mut Watch::unlimited());
        let mut again = packed.map(|packed| packed.unpacked());
        if let (Ok(again), Ok(tree)) = (&mut again, tree) {
            for (op, of) in again.ops.iter_mut().zip(&tree.ops) {
                (op.index, op.time) = (of.index, of.time);
            }
        }
        assert_eq!(again, tree.clone().map_err(Unloaded::Mistake));
    }
}

/// The short way from a text to transactions says the same as the way over a tree.
fn judged(text: &str, model: Model, tree: &Result<Loaded, history::ImportError>) {
    let options = txn::Options::default();
    let short = txn::judge(text, model, &options, &mut Watch::unlimited());
    if let Ok(tree) = tree {
        let long = txn::check(tree, model, &options);
        match (&short, &long) {
            (Ok(short), Ok(long)) => assert_eq!(short.report.anomalies, long.anomalies),
            (Err(short), Err(long)) => assert_eq!(short, long),
            _ => panic!("{short:?}\n{long:?}"),
        }
    } else {
        assert!(short.is_err(), "{short:?}");
    }
    let weak = weak::judge(text, &Level::ALL, &mut Watch::unlimited());
    assert!(tree.is_ok() || weak.is_err(), "{weak:?}");
}

/// Names and literals of a strange file may not be readable where the exporter puts them; it must not fail for that.
fn written_again(tree: &Loaded) {
    let edn = history::to_edn(tree);
    let json = history::to_json_lines(tree);
    if let Ok(again) = history::load(json.as_bytes()) {
        assert_eq!(again.ops.len(), tree.ops.len(), "{json}");
        assert_eq!(history::to_json_lines(&again), json, "written twice");
    }
    drop(edn);
}
