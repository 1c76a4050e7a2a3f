//! What the store remembers, and for how long.

use super::*;

fn key(name: &str) -> Key {
    Key { kind: Kind::Service, namespace: "a".to_owned(), name: name.to_owned() }
}

fn put(store: &mut Store, name: &str, colour: &str) {
    store.put(key(name), json!({"metadata": {"name": name}, "colour": colour}));
}

/// Names and colours of the objects at a version.
fn at(store: &Store, version: u64) -> Vec<String> {
    let page = store.page(Kind::Service, version, None, usize::MAX, |_, _| true).unwrap();
    let text = |object: &Arc<Value>| {
        format!("{} {}", object["metadata"]["name"].as_str().unwrap(), object["colour"].as_str().unwrap())
    };
    page.objects.iter().map(text).collect()
}

/// A store at version 16: b came and went, c came late.
fn example() -> Store {
    let mut store = Store::new(10, 100);
    put(&mut store, "a", "red");
    put(&mut store, "b", "red");
    put(&mut store, "a", "blue");
    store.remove(&key("b"));
    put(&mut store, "c", "red");
    put(&mut store, "a", "green");
    store
}

#[test]
fn every_version_that_is_remembered_can_be_seen() {
    let store = example();
    let expected: [&[&str]; 7] = [
        &[],
        &["a red"],
        &["a red", "b red"],
        &["a blue", "b red"],
        &["a blue"],
        &["a blue", "c red"],
        &["a green", "c red"],
    ];
    for (version, expected) in (10..).zip(expected) {
        assert_eq!(at(&store, version), expected, "at {version}");
    }
    assert_eq!(store.get_at(&key("a"), 13).unwrap().unwrap()["colour"], "blue");
    assert_eq!(store.get_at(&key("c"), 13).unwrap(), None);
}

#[test]
fn pages_of_an_earlier_version_are_consistent() {
    let store = example();
    let first = store.page(Kind::Service, 12, None, 1, |_, _| true).unwrap();
    assert_eq!((first.last.clone(), first.remaining), (Some(key("a")), 1));
    let second = store.page(Kind::Service, 12, first.last.as_ref(), 1, |_, _| true).unwrap();
    assert_eq!(second.objects[0]["metadata"]["name"], "b", "although it is gone by now");
    assert_eq!((second.last, second.remaining), (None, 0));
}

#[test]
fn history_is_bounded_and_what_is_older_is_gone() {
    let mut store = Store::new(0, 3);
    for number in 0..5 {
        put(&mut store, "a", &number.to_string());
    }
    assert_eq!(store.changes(1).err(), Some(Forgotten { oldest: 2 }));
    assert_eq!(store.changes(2).unwrap().count(), 3);
    assert_eq!(store.changes(9).unwrap().count(), 0, "nothing yet");
    assert_eq!(store.page(Kind::Service, 1, None, 9, |_, _| true).err(), Some(Forgotten { oldest: 2 }));
    store.forget();
    assert_eq!(store.changes(4).err(), Some(Forgotten { oldest: 5 }));
    assert_eq!(store.changes(5).unwrap().count(), 0);
}

#[test]
fn an_object_that_stays_as_it_is_gets_no_new_version() {
    let mut store = example();
    put(&mut store, "a", "green");
    assert_eq!(store.version(), 16);
    let object = store.get(&key("a")).unwrap();
    assert_eq!(object["metadata"]["resourceVersion"], "16");
    store.put(key("a"), object.as_ref().clone());
    assert_eq!(store.version(), 16);
}

#[test]
fn what_is_not_shown_is_not_told() {
    let mut store = example();
    store.show_up_to(Some(13)).unwrap();
    assert_eq!(store.version(), 13);
    assert_eq!(store.changes(11).unwrap().map(|change| change.version).collect::<Vec<_>>(), [12, 13]);
    assert_eq!(store.changes(14).unwrap().count(), 0);
    put(&mut store, "d", "red");
    assert_eq!(store.version(), 13);
    store.show_up_to(None).unwrap();
    assert_eq!(store.changes(14).unwrap().map(|change| change.version).collect::<Vec<_>>(), [15, 16, 17]);
    assert_eq!(store.show_up_to(Some(9)), Err(Forgotten { oldest: 10 }));
}

#[test]
fn a_new_beginning_keeps_objects_and_nothing_else() {
    let mut store = example();
    store.begin_anew(1_000);
    assert_eq!(at(&store, store.version()), ["a green", "c red"]);
    assert_eq!(store.version(), 1_002);
    assert_eq!(store.get(&key("c")).unwrap()["metadata"]["resourceVersion"], "1002");
    assert_eq!(store.changes(16).err(), Some(Forgotten { oldest: 1_002 }));
}

#[test]
fn an_object_of_any_shape_can_be_kept() {
    let mut store = Store::new(0, 10);
    for (number, object) in [json!(7), json!("text"), json!({"metadata": 3}), json!([1])].into_iter().enumerate() {
        assert_eq!(store.put(key(&number.to_string()), object.clone()).as_ref(), &object);
    }
    assert_eq!(store.objects(Kind::Service).count(), 4);
    assert_eq!(store.objects(Kind::EndpointSlice).count(), 0);
}
