//! What must hold of any bytes that an importer is given. The fuzz targets use this file, too.

use firedrill_check::history::{self, Loaded};

/// Reads it or says where it is wrong; what is read is the same in little memory, and after it was written as Jepsen would.
pub(crate) fn any_bytes(bytes: &[u8]) {
    let (tree, packed) = (history::load(bytes), history::load_packed(bytes));
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
