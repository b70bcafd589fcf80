use proptest::prelude::*;

use super::*;
use crate::history::load;
use crate::limits::Stop;

/// Everything that was read, or why it was not.
fn told(text: &str, model: Model, crew: Crew) -> String {
    match scan(text, model, crew, &mut Watch::unlimited()) {
        Ok(Some(Scanned { all, format, events })) => {
            let lists = all.mops.iter().map(|mop| match mop {
                ops::Mop::ReadList { elements, .. } => all.list(elements),
                ops::Mop::Write { .. } | ops::Mop::Read { .. } => &[],
            });
            let lists: Vec<&[u32]> = lists.collect();
            let keys: Vec<_> = (0..all.key_count()).map(|key| all.key_name(id(key))).collect();
            format!("{format} {events} {keys:?}\n{:?}\n{:?}\n{:?}\n{lists:?}", all.txns, all.mops, all.versions)
        }
        other => format!("{other:?}"),
    }
}

fn is_same_by_all(text: &str, model: Model) -> String {
    let alone = told(text, model, Crew::ALONE);
    for (threads, piece) in [(1, 1), (2, 1), (2, 50), (3, 1), (4, 200)] {
        assert_eq!(told(text, model, Crew { threads, piece }), alone, "{threads} threads, pieces of {piece}\n{text}");
    }
    alone
}

fn mop(model: Model) -> BoxedStrategy<String> {
    let nil = (0..3).prop_map(|key| format!("[:r {key} nil]"));
    match model {
        Model::ListAppend => {
            let append = (0..3, 0..40).prop_map(|(key, value)| format!("[:append {key} {value}]"));
            let read = (0..3, 0..6).prop_map(|(key, length)| {
                let list: Vec<String> = (0..length).map(|value| value.to_string()).collect();
                format!("[:r {key} [{}]]", list.join(" "))
            });
            prop_oneof![append, read, nil].boxed()
        }
        Model::RwRegister => {
            let write = (0..3, 0..40).prop_map(|(key, value)| format!("[:w {key} {value}]"));
            let read = (0..3, 0..40).prop_map(|(key, value)| format!("[:r {key} {value}]"));
            prop_oneof![write, read, nil].boxed()
        }
    }
}

/// A line of a text, sound or not.
fn line(model: Model) -> impl Strategy<Value = String> {
    let event = (0..4, 0..4_usize, prop::collection::vec(mop(model), 0..3)).prop_map(|(process, kind, mops)| {
        let kind = ["invoke", "ok", "fail", "info"][kind];
        format!("{{:process {process}, :type :{kind}, :f :txn, :value [{}]}}", mops.join(", "))
    });
    let odd = prop::sample::select(vec![
        "",
        "]",
        "{:process :nemesis, :type :info, :f :kill, :value {:a \"}\"}}",
        "{:process :nemesis, :type :info, :f :kill, :value \"a\nb\"}",
        "{:process 7, :type :ok, :f :txn, :value [[:append x 1]]}",
        "{:process 7, :type :ok, :f :txn, :value [], :value []}",
        "{:type :ok, :f :txn, :value []}",
        "  {:index 3, :process 8, :type :ok, :f :txn, :value [],\t:error [:x {:y 1}]} ,\r",
    ]);
    prop_oneof![20 => event, 1 => odd.prop_map(ToOwned::to_owned)]
}

fn text() -> impl Strategy<Value = (String, Model)> {
    let model = prop::sample::select(vec![Model::ListAppend, Model::RwRegister]);
    let lines = model.prop_flat_map(|model| (prop::collection::vec(line(model), 0..25), Just(model)));
    (lines, any::<bool>(), any::<bool>()).prop_map(|((lines, model), is_vector, is_json)| {
        let text = lines.join("\n");
        let text = if is_vector { format!("[{text}]\n\n") } else { text };
        (if is_json { as_json(&text) } else { text }, model)
    })
}

/// The same in JSON, as far as it can be.
fn as_json(text: &str) -> String {
    let mut json = text.to_owned();
    for name in ["process", "type", "value", "index", "error"] {
        json = json.replace(&format!(":{name} "), &format!("\"{name}\":"));
    }
    json = json.replace(":f ", "\"f\":").replace("nil", "null");
    for name in ["invoke", "ok", "fail", "info", "txn", "append", "w", "r", "nemesis", "kill"] {
        json = json
            .replace(&format!(":{name},"), &format!("\"{name}\","))
            .replace(&format!(":{name} "), &format!("\"{name}\","));
    }
    json
}

proptest! {
    #[test]
    fn what_is_read_does_not_depend_on_the_threads((text, model) in text()) {
        is_same_by_all(&text, model);
    }
}

#[test]
fn sound_texts_are_read_the_short_way() {
    let invoke = |p: u32| format!("{{:process {p}, :type :invoke, :f :txn, :value [[:append 1 {p}] [:r 2 nil]]}}");
    let end =
        |p: u32, kind: &str| format!("{{:process {p}, :type :{kind}, :f :txn, :value [[:append 1 {p}] [:r 2 [5 6]]]}}");
    let lines = [invoke(1), invoke(2), end(2, "ok"), invoke(3), end(3, "info"), invoke(4), end(1, "fail"), invoke(1)];
    let lines: Vec<String> = lines.into_iter().take(7).collect();
    for text in [lines.join("\n"), format!("[{}]\n", lines.join("\n")), as_json(&lines.join("\n"))] {
        let read = is_same_by_all(&text, Model::ListAppend);
        assert!(read.contains(" 7 [Int(1), Int(2)]") && read.contains("Unknown") && read.contains("Aborted"), "{read}");
    }
}

#[test]
fn a_value_of_two_lines_takes_an_importer() {
    let text = "{:process :nemesis, :type :info, :f :kill, :value \"a\nb\"}\n{:process 1, :type :ok, :f :txn, :value [[:r 1 1]]}";
    assert_eq!(told(text, Model::RwRegister, Crew::ALONE), "Ok(None)");
    assert_eq!(load(text.as_bytes()).unwrap().ops[1].line, 3);
}

#[test]
fn a_limit_ends_it_for_all_threads() {
    let line = "{:process 1, :type :ok, :f :txn, :value [[:r 1 1]]}\n".repeat(40_000);
    for threads in 1..4 {
        let stopped =
            scan(&line, Model::RwRegister, Crew { threads, piece: 1000 }, &mut Watch::new(&|_| Some(Stop::Time)));
        assert!(matches!(stopped, Err(Unread::Stopped(Stop::Time))), "{stopped:?}");
    }
}
