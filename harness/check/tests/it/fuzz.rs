//! Every importer against bytes nobody meant, in the tests of every day; `fuzz/` has the same for cargo-fuzz.

use proptest::prelude::*;

use crate::importer::any_bytes;

/// A small sound history in each format.
const SEEDS: [(&str, &str); 8] = [
    (
        "edn",
        "[{:index 0, :time 5, :process 0, :type :invoke, :f :cas, :value [1 \"a\\n\"]}\n #_ 7 #x{:process :n, :type :info, :f nil, :value #{1.5 {:a 2}}}]",
    ),
    (
        "edn lines",
        "{:process 0 :type :ok :f :read :value (1 nil true)} ; so\n{:process 1 :type :fail :f :write :value -3}\n",
    ),
    (
        "json lines",
        "{\"index\":0,\"time\":10,\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":[7,null]}\n{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":[7,[\"x\",{\"a\":-1.5e3}]],\"compare\":false}\n",
    ),
    (
        "json array",
        "[{\"process\":\"n\",\"type\":\"info\",\"f\":null,\"value\":\"\\u00e9\"}, {\"process\":3,\"type\":\"ok\",\"f\":\"r\",\"value\":[]}]",
    ),
    (
        "porcupine log",
        "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0\t:fail\t:cas\t[1 2]\nINFO  jepsen.util - :nemesis\t:info\t:start\tnil more\n",
    ),
    (
        "porcupine key-value",
        "{:process 9, :type :invoke, :f :append, :key \"0\", :value \"x 1\"}\n{:process 9, :type :ok, :f :append, :key \"0\", :value \"x 1\"}\n",
    ),
    ("plume", "r(15,0,0,0)\nw(18,1,0,0)\nr(18,1,1,2)\nw(0,0,-1,-1)\n"),
    ("awdit", "r 1 1\n-----\nw 0 0\n=====\nr 0 0\n"),
];

/// What is done to a text: a place, how many bytes go, and what comes instead.
type Change = (prop::sample::Index, usize, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            "\"",
            "\\",
            ":",
            ",",
            "#",
            "#_",
            ";",
            "\n",
            " ",
            "-",
            "9999999999999999999",
            "0",
            "1.5",
            "nil",
            "null",
            "true",
            ":ok",
            "\"ok\"",
            ":process",
            "\"value\":",
            "é",
            "#{",
            "\\u12",
            "\\ud83d",
            "INFO  jepsen.util -",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, bytes), 0..5)
}

fn changed(seed: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.as_bytes().to_vec();
    for (place, gone, new) in changes {
        let from = place.index(bytes.len() + 1);
        let until = (from + gone).min(bytes.len());
        bytes.splice(from..until, new.iter().copied());
    }
    bytes
}

#[test]
fn the_seeds_are_sound() {
    for (name, seed) in SEEDS {
        assert!(firedrill_check::history::load(seed.as_bytes()).is_ok(), "{name}");
        any_bytes(seed.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn almost_histories_are_read_or_refused(seed in 0_usize..SEEDS.len(), changes in changes()) {
        any_bytes(&changed(SEEDS[seed].1, &changes));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        any_bytes(&bytes);
    }
}
