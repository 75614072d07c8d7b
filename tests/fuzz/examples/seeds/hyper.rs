//! Seeds out of what the JavaScript peers wrote: the interop vectors of hyper-core and hyper-swarm.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::seed;

const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../system-services");

fn vectors(part: &str) -> Result<Value> {
    let path = format!("{SERVICES}/{part}.json");
    serde_json::from_slice(&std::fs::read(&path).context(path)?).context("vectors")
}

fn hex(value: &Value) -> Result<Vec<u8>> {
    let text = value.as_str().context("no text")?;
    (0..text.len() / 2)
        .map(|at| Ok(u8::from_str_radix(&text[2 * at..2 * at + 2], 16)?))
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Frames as the target `mux` takes them.
fn frames<'a>(frames: impl IntoIterator<Item = &'a Value>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for frame in frames {
        let frame = hex(frame)?;
        out.extend_from_slice(&u16::try_from(frame.len())?.to_le_bytes());
        out.extend(frame);
    }
    Ok(out)
}

/// All seeds of these layers.
pub fn seeds() -> Result<()> {
    cores()?;
    messages()?;
    channels()?;
    streams()
}

fn cores() -> Result<()> {
    let manifests = vectors("hyper-core/tests/vectors/core-manifests")?;
    for (n, manifest) in list(&manifests["manifests"]).iter().enumerate().step_by(3) {
        seed("core_manifest", &format!("valid-{n}"), hex(&manifest["encoded"])?)?;
    }
    seed(
        "core_manifest",
        "cut",
        &hex(&manifests["manifests"][0]["encoded"])?[..40],
    )?;
    for (n, case) in list(&manifests["multi"]["cases"]).iter().enumerate().take(4) {
        seed("core_signature", &format!("valid-{n}"), hex(&case["signature"])?)?;
    }
    let alone = hex(&vectors("hyper-core/tests/vectors/core")?["remote"]["alone"])?;
    let proof = &alone[32..];
    seed("core_proof", "valid-alone", proof)?;
    let mut wrong = proof.to_vec();
    wrong[60] ^= 1;
    seed("core_proof", "wrong-hash", wrong)?;
    seed("core_proof", "cut", &proof[..200])
}

fn messages() -> Result<()> {
    let vectors = vectors("hyper-core/tests/vectors/wire-messages")?;
    for (n, message) in list(&vectors["messages"]).iter().enumerate().step_by(2) {
        let kind = u8::try_from(message["kind"].as_u64().context("kind")?)?;
        let bytes = [&[kind][..], &hex(&message["hex"])?].concat();
        seed("core_message", &format!("valid-{kind}-{n}"), bytes)?;
    }
    seed("core_message", "open", hex(&vectors["handshakes"][0]["hex"])?)
}

fn channels() -> Result<()> {
    let replication = vectors("hyper-core/tests/vectors/wire-replication")?;
    let said = list(&replication["replication"])
        .iter()
        .filter(|frame| frame["from"] == 0);
    seed(
        "mux",
        "valid-replication",
        frames(said.map(|frame| &frame["frame"]).take(8))?,
    )?;
    let vectors = vectors("hyper-core/tests/vectors/wire-mux")?;
    let transcripts = list(&vectors["transcripts"]).split(|step| step.get("name").is_some());
    for (n, steps) in transcripts.skip(1).enumerate().step_by(4).take(4) {
        // What the one end sends, as if a peer said it.
        let sent = steps.iter().flat_map(|step| list(&step["sends"]));
        seed("mux", &format!("transcript-{n}"), frames(sent)?)?;
    }
    for (n, case) in list(&vectors["hostile"]).iter().enumerate().step_by(12) {
        let fed = list(&case["steps"]).iter().filter(|step| step["op"] == "feed");
        seed(
            "mux",
            &format!("hostile-{n}"),
            frames(fed.map(|step| &step["frame"]))?,
        )?;
    }
    Ok(())
}

fn streams() -> Result<()> {
    let vectors_of_streams = vectors("hyper-swarm/tests/vectors/stream")?;
    for (n, noise) in list(&vectors_of_streams["noise"]).iter().enumerate().take(2) {
        let messages = &noise["messages"];
        seed("noise", &format!("valid-{n}-first"), hex(&messages[0])?)?;
        seed("noise", &format!("{n}-second"), hex(&messages[1])?)?;
    }
    for (n, stream) in list(&vectors_of_streams["streams"]).iter().enumerate() {
        for (end, said) in ["initiator", "responder"].into_iter().zip(list(&stream["said"])) {
            // The target answers an XX handshake.
            let valid = if (n, end) == (0, "initiator") {
                "valid-"
            } else {
                ""
            };
            seed("secret_stream", &format!("{valid}{n}-{end}"), hex(said)?)?;
        }
    }
    let udx = vectors("hyper-swarm/tests/vectors/udx")?;
    for (name, at) in [
        ("valid-data", 3),
        ("valid-ack", 4),
        ("valid-sack", 13),
        ("valid-probe-of-the-path", 17),
        ("valid-message", 33),
        ("valid-end", 42),
        ("valid-destroy", 49),
    ] {
        seed("udx_packet", name, hex(&udx["packets"][at]["bytes"])?)?;
    }
    seed("udx_packet", "short", &hex(&udx["packets"][4]["bytes"])?[..19])
}
