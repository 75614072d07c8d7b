//! Changes and reads of a bee as plain data, as `tests/interop/bee-operations.mjs` has them for the JavaScript one: keys, values and
//! blocks in hexadecimal.

use hyper_drive::bee::{Batch, Bee, Change, Entry, KeyRange};
use serde_json::{Value, json};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Some(value.as_str()?.as_bytes().chunks(2).map(pair).collect())
}

/// Applies a change, or a batch of changes.
pub async fn apply(bee: &Bee, operation: &Value) {
    let mut batch = bee.batch();
    match operation["ops"].as_array() {
        Some(operations) => {
            for operation in operations {
                change(&mut batch, operation).await;
            }
        }
        None => change(&mut batch, operation).await,
    }
    batch.flush().await.unwrap();
}

async fn change(batch: &mut Batch, operation: &Value) {
    let (key, value) = (bytes(&operation["key"]).unwrap(), bytes(&operation["value"]));
    let cas = &operation["cas"];
    // One answer for all, or "the old value is this one".
    let agrees = |old: &Entry| match cas {
        Value::Bool(answer) => *answer,
        Value::String(_) => old.value.as_deref().map(<[u8]>::to_vec) == bytes(cas),
        _ => true,
    };
    // hyperbee asks only when there is something to be replaced.
    let condition = |old: Option<&Entry>| old.is_none_or(agrees);
    match (operation["op"].as_str().unwrap(), value) {
        ("del", _) if cas.is_null() => batch.del(key).await.unwrap(),
        ("del", _) => batch.del_if(key, agrees).await.unwrap(),
        ("put", Some(value)) if cas.is_null() => batch.put(key, value).await.unwrap(),
        ("put", Some(value)) => batch.put_if(key, value, condition).await.unwrap(),
        ("put", None) => batch.put_without_value_if(key, condition).await.unwrap(),
        (other, _) => panic!("no such operation: {other}"),
    };
}

fn range(query: &Value) -> KeyRange {
    let mut range = KeyRange::ALL;
    for (name, bound) in [
        ("gt", KeyRange::gt as fn(_, Vec<u8>) -> _),
        ("gte", KeyRange::gte),
        ("lt", KeyRange::lt),
        ("lte", KeyRange::lte),
    ] {
        if let Some(key) = bytes(&query[name]) {
            range = bound(range, key);
        }
    }
    range
}

fn entry(entry: &Entry) -> Value {
    json!({"seq": entry.seq, "key": hex(&entry.key), "value": entry.value.as_deref().map(hex)})
}

/// Scans, histories, differences.
pub async fn read(bee: &Bee, query: &Value) -> Vec<Value> {
    let bee = match query["version"].as_u64() {
        Some(version) => bee.checkout(version).unwrap(),
        None => bee.clone(),
    };
    let limit = query["limit"].as_u64().unwrap_or(u64::MAX);
    let reverse = query["reverse"] == true;
    let mut out = Vec::new();
    match query["read"].as_str().unwrap() {
        "get" => {
            let found = bee.get(bytes(&query["key"]).unwrap()).await.unwrap();
            out.push(found.as_ref().map_or(Value::Null, entry));
        }
        "scan" => {
            let mut entries = bee.range(range(query)).unwrap().limit(limit);
            if reverse {
                entries = entries.reversed();
            }
            while let Some(found) = entries.next().await.unwrap() {
                out.push(entry(&found));
            }
        }
        "history" => {
            let (start, end) = (query["gte"].as_u64(), query["lt"].as_u64());
            let blocks = start.unwrap_or(1)..end.unwrap_or(u64::MAX);
            let mut history = bee.history(blocks).unwrap().limit(limit);
            if reverse {
                history = history.reversed();
            }
            while let Some(found) = history.next().await.unwrap() {
                let mut item = entry(&found.entry);
                item["type"] = json!(if found.change == Change::Put { "put" } else { "del" });
                out.push(item);
            }
        }
        _ => {
            let other = bee.checkout(query["other"].as_u64().unwrap()).unwrap();
            let mut differences = bee.diff(&other, range(query)).unwrap().limit(limit);
            while let Some(found) = differences.next().await.unwrap() {
                let side = |side: &Option<Entry>| side.as_ref().map(entry);
                out.push(json!({"left": side(&found.left), "right": side(&found.right)}));
            }
        }
    }
    out
}
