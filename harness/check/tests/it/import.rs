//! Histories in every format, as they are and as they must not be.

use firedrill_check::history::{
    Format, Kind, Process, Value, calls, load, parse_edn, parse_json, to_edn, to_json_lines,
};

const EDN: &str = "; a comment\n[{:process 0, :type :invoke, :f :cas, :value [1 2], :time -5 :index 7}\n \
                   {:process :nemesis, :type :info, :f :start, :value \"Cut \\\"off\\\" {:n1 #{:n2}}\"}\n \
                   {:process 0, :type :ok, :f :cas, :value [1 2]} #_ {:process 9}\n \
                   #jepsen.history.Op{:process 1 :type :ok :f nil :value ({:a #{1 2.5}} \\x nil true foo/bar)}]\n";

const LOG: &str = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 1  :invoke  :cas  [1 2]\n\n\
                   INFO  jepsen.util - 0\t:fail\t:read\t:timed-out\nINFO  jepsen.util - 1  :fail    :cas  [1 2]\n";

#[test]
fn edn_is_read_as_it_is() {
    let history = load(EDN.as_bytes()).unwrap();
    assert_eq!((history.format, history.ops.len()), (Format::JepsenEdn, 4));
    let first = &history.ops[0];
    assert_eq!((first.index, first.time, first.line, &*first.f), (Some(7), Some(-5), 2, "cas"));
    assert_eq!((&first.process, first.kind), (&Process::Client(0), Kind::Invoke));
    assert_eq!(history.ops[1].process, Process::Named("nemesis".into()));
    assert_eq!(history.ops[1].value.name(), Some("Cut \"off\" {:n1 #{:n2}}"));
    assert_eq!((&*history.ops[3].f, history.ops[3].line), ("", 5));
    assert_eq!(history.ops[3].value.to_string(), "[{:a #{1 2.5}} \\x nil true foo/bar]");
    let paired = calls(&history).unwrap();
    assert_eq!(paired.len(), 2);
    assert_eq!((paired[0].invoke, paired[0].complete), (Some(0), Some(2)));
    assert_eq!((paired[1].invoke, paired[1].complete), (None, Some(3)), "a completion alone is a call invoked there");
}

#[test]
fn the_same_history_reads_the_same_from_lines_and_from_json() {
    let op = "{:process 3, :type :ok, :f :append, :value [:k \"x\\n\\u00e9\"]}";
    let vector = load(format!("[{op} {op}]").as_bytes()).unwrap();
    let list = load(format!("({op},{op})").as_bytes()).unwrap();
    let lines = load(format!("{op}{op}").as_bytes()).unwrap();
    assert_eq!((&vector, &vector), (&list, &lines));
    let object = r#"{"process":3,"type":"ok","f":"append","value":["k","x\n\u00e9"],"more":{"a":[1.5e3,false]}}"#;
    let json = load(format!("{object}\n{object}\n").as_bytes()).unwrap();
    let array = load(format!("[{object},\n{object}]").as_bytes()).unwrap();
    assert_eq!((json.format, array.format), (Format::JepsenJson, Format::JepsenJson));
    assert_eq!(json.ops[0].value, array.ops[1].value);
    assert_eq!(json.ops[0].value.pair().unwrap().1, vector.ops[0].value.pair().unwrap().1);
}

#[test]
fn porcupines_formats_are_told_apart_from_jepsens() {
    let log = load(LOG.as_bytes()).unwrap();
    assert_eq!((log.format, log.ops.len()), (Format::PorcupineLog, 4));
    assert_eq!((log.ops[2].kind, log.ops[2].line), (Kind::Fail, 4));
    assert_eq!((log.ops[3].kind, log.ops[3].compare_false), (Kind::Ok, true), "the compare was made, and was false");
    let kv = load(b"{:process 9, :type :invoke, :f :append, :key \"0\", :value \"x\"}\n").unwrap();
    assert_eq!(kv.format, Format::PorcupineKv);
    assert_eq!(kv.ops[0].value.to_string(), "[\"0\" \"x\"]");
}

#[test]
fn what_is_exported_reads_the_same() {
    for text in [EDN, LOG] {
        let mut history = load(text.as_bytes()).unwrap();
        let mut again = load(to_edn(&history).as_bytes()).unwrap();
        for (place, (old, new)) in history.ops.iter_mut().zip(&mut again.ops).enumerate() {
            assert_eq!(new.index, Some(old.index.unwrap_or(i64::try_from(place).unwrap())));
            (old.index, old.line) = (new.index, new.line);
        }
        assert_eq!(history.ops, again.ops);
        let json = load(to_json_lines(&history).as_bytes()).unwrap();
        assert_eq!(json.format, Format::JepsenJson);
        assert_eq!(to_json_lines(&json), to_json_lines(&history));
        assert_eq!(calls(&json).unwrap(), calls(&history).unwrap());
    }
}

#[test]
fn mistakes_name_line_column_and_what_was_expected() {
    for (text, want) in [
        ("", "line 1, column 1: expected a history"),
        ("hello", "line 1, column 1: expected a history"),
        ("[{:process 1}\n", "line 1, column 2: expected :type in this operation"),
        ("[{:process 1, :type :ok, :f :x}\n", "line 1, column 1: expected a closing `]`"),
        ("[{:process 1,\n  :type :maybe}]", "line 2, column 9: expected one of invoke, ok, fail, info"),
        ("{:process 1.5 :type :ok}", "line 1, column 11: expected a number or a keyword as :process"),
        ("[1 2]", "line 1, column 2: expected an operation"),
        ("[] x", "line 1, column 4: expected the end of the file"),
        ("{:process 1 :f :x :type :ok :value [1 }}", "line 1, column 39: expected a value, not `}`"),
        ("{:process 1 :f :x :type :ok :value \"é\\q\"}", "line 1, column 38: expected an escape"),
        ("{:process 1 :f :x :type :ok :value \"abc}", "line 1, column 36: expected a closing quote"),
        ("{\"process\" 1}", "line 1, column 12: expected `:` after a key"),
        ("{\"process\":1,\"type\":\"ok\",\"f\":\"r\",\"value\":nul}", "line 1, column 42: expected a value"),
        ("INFO  jepsen.util - x :ok :read 1", "line 1, column 21: expected a process"),
        ("INFO  jepsen.util - 1 :ok :read 1\nrubbish", "line 2, column 1: expected a log line"),
        ("INFO  jepsen.util - 1 :ok :read 1 2", "line 1, column 35: expected the end of the line"),
    ] {
        let said = load(text.as_bytes()).map_or_else(|error| error.to_string(), |history| format!("{history:?}"));
        assert!(said.starts_with(want), "{text}: {said}");
    }
    assert_eq!(load(b"[\n \xff]").unwrap_err().to_string(), "line 2, column 2: expected UTF-8");
    let deep = "[".repeat(100_000);
    assert!(load(format!("{{:process 1 :value {deep}").as_bytes()).unwrap_err().to_string().contains("64 deep"));
    assert!(parse_edn("1 2").is_err() && parse_json("[1,").is_err());
    assert_eq!(parse_json("\"\\ud83d\\ude00\"").unwrap(), Value::Text("\u{1f600}".into()));
    assert!(parse_json("\"\\ud83d\"").is_err());
}

#[test]
fn what_no_process_can_do_is_refused_with_both_operations() {
    let op = |process: i64, kind: &str, f: &str| format!("{{:process {process} :type :{kind} :f :{f} :value nil}}\n");
    for (text, want) in [
        (op(1, "invoke", "read") + &op(1, "invoke", "write"), "one operation in flight for a process"),
        (op(1, "info", "read") + &op(1, "invoke", "read"), "no operation of a process after its :info"),
        (op(1, "invoke", "read") + &op(1, "ok", "write"), "a completion of the operation that was invoked"),
    ] {
        let history = load(text.as_bytes()).unwrap();
        let error = calls(&history).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.expected.starts_with(want), "{error}");
        let both = [history.ops[0].to_string(), history.ops[1].to_string()];
        assert!(both.iter().all(|op| error.expected.contains(op.as_str())), "{error}");
    }
    let nemesis = "{:process :nemesis :type :info :f :start}";
    assert_eq!(calls(&load(nemesis.repeat(3).as_bytes()).unwrap()).unwrap(), vec![], "the nemesis may");
}

#[test]
fn accesses_become_transactions_in_file_order() {
    let plume = load(b"w(1,5,0,-1)\nr(1,5,3,0)\nw(2,7,4,1)\nr(9,0,3,0)\n").unwrap();
    assert_eq!((plume.format, plume.format.has_realtime()), (Format::Plume, false));
    let shown: Vec<String> = plume.ops.iter().map(ToString::to_string).collect();
    let expected = [
        "line 1: process -1 ok txn [[:w 1 5]]",
        "line 2: process 3 ok txn [[:r 1 5] [:r 9 nil]]",
        "line 3: process 4 ok txn [[:w 2 7]]",
    ];
    assert_eq!(shown, expected);
    let awdit = load(b"w 0 0\nr 1 0\n-----\nr 0 0\n=====\nw 0 1\n").unwrap();
    assert_eq!(awdit.format, Format::Awdit);
    let shown: Vec<String> = awdit.ops.iter().map(ToString::to_string).collect();
    let expected = [
        "line 1: process 0 ok txn [[:w 0 0] [:r 1 nil]]",
        "line 4: process 0 ok txn [[:r 0 0]]",
        "line 6: process 1 ok txn [[:w 0 1]]",
    ];
    assert_eq!(shown, expected);
    assert_eq!(load(b"r(1,x,0,0)").unwrap_err().to_string(), "line 1, column 5: expected a value: a whole number");
}
