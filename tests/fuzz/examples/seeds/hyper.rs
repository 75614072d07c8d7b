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
    replicator()?;
    bees()?;
    messages()?;
    channels()?;
    streams()?;
    connecting()?;
    nodes()?;
    drives()
}

fn drives() -> Result<()> {
    let vectors = vectors("hyper-drive/tests/vectors/drive")?;
    for (n, file) in list(&vectors["drive"]["files"]).iter().enumerate().step_by(3) {
        let note = file["value"].as_str().context("value")?;
        seed("drive_entry", &format!("valid-{n}"), note)?;
    }
    let id = vectors["maps"]["cases"][0]["json"].as_str().context("json")?;
    seed("drive_entry", "valid-map", format!("{{\"blob\":{id}}}"))?;
    seed(
        "drive_entry",
        "far",
        r#"{"blob":{"blockOffset":9007199254740991,"byteOffset":0,"blockLength":1,"byteLength":1}}"#,
    )?;
    for (n, block) in [3, 5, 8].into_iter().enumerate() {
        seed(
            "drive_block_map",
            &format!("valid-{n}"),
            hex(&vectors["maps"]["blocks"][block])?,
        )?;
    }
    for (n, path) in ["/a", "/a/b c\n../x/y", "/a/b/c\n/d", "/ü\n./x//"]
        .into_iter()
        .enumerate()
    {
        seed("drive_path", &format!("valid-{n}"), path)?;
    }
    seed("drive_path", "out", "/a/../../b\n../../c")
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

fn bees() -> Result<()> {
    let vectors = vectors("hyper-drive/tests/vectors/bee")?;
    for (seq, block) in (0u16..).zip(list(&vectors["first_blocks"])) {
        let name = if seq == 0 {
            "header"
        } else {
            &format!("valid-{seq}")
        };
        seed("bee_block", name, [&seq.to_le_bytes()[..], &hex(block)?].concat())?;
    }
    Ok(())
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
    let packets = || list(&udx["packets"]);
    // Payloads are cut: the length is one byte.
    let talk = |from: u64| -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (step, packet) in packets()
            .iter()
            .filter(|packet| packet["from"] == from)
            .enumerate()
        {
            let bytes = hex(&packet["bytes"])?;
            let bytes = &bytes[..bytes.len().min(40)];
            out.extend([u8::try_from(step % 256)?, u8::try_from(bytes.len())?]);
            out.extend(bytes);
        }
        Ok(out)
    };
    // The number of the first packet is 0 for the target; the first end's are elsewhere.
    seed("udx_stream", "valid-second-end", talk(1)?)?;
    seed("udx_stream", "valid-far-numbers", talk(0)?)?;
    seed("udx_stream", "valid-gaps", gaps())?;
    seed("udx_packet", "short", &hex(&udx["packets"][4]["bytes"])?[..19])
}

/// Packets in no order, with acknowledgements of what the target writes at step 3, and then the end.
fn gaps() -> Vec<u8> {
    let packet = |flags: u8, seq: u8, ack: u8, rest: &[u8]| {
        let head = [
            255, 1, flags, 0, 1, 0, 0, 0, 0, 0, 1, 0, seq, 0, 0, 0, ack, 0, 0, 0,
        ];
        [&head, rest].concat()
    };
    let sack = [2, 0, 0, 0, 4, 0, 0, 0];
    let talk = [
        (3, packet(1, 0, 0, b"in order")),
        (3, packet(1, 2, 0, b"early")),
        (1, packet(4, 3, 1, &sack)),
        (2, packet(1, 1, 1, b"late")),
        (2, packet(32, 3, 4, b"")),
        (6, packet(3, 3, 4, b"last")),
        (2, packet(0, 4, 5, b"")),
    ];
    let mut out = Vec::new();
    for (step, datagram) in talk {
        out.extend([step, datagram.len() as u8]);
        out.extend(datagram);
    }
    out
}

/// What peers say while they connect.
fn connecting() -> Result<()> {
    let vectors = vectors("hyper-swarm/tests/vectors/connect")?;
    let all = |target: &str, part: &str| -> Result<()> {
        for (n, vector) in list(&vectors[part]).iter().enumerate() {
            seed(target, &format!("valid-{part}-{n}"), hex(&vector["bytes"])?)?;
        }
        Ok(())
    };
    all("dht_handshake", "handshakes")?;
    all("dht_handshake", "noise_payloads")?;
    all("dht_holepunch", "holepunches")?;
    for (n, vector) in list(&vectors["holepunch_payloads"]).iter().enumerate() {
        seed("dht_holepunch", &format!("payload-{n}"), hex(&vector["bytes"])?)?;
    }
    for (kind, part) in ["pair", "unpair"].into_iter().enumerate() {
        for (n, vector) in list(&vectors["relay"][part]).iter().enumerate() {
            let message = [&[u8::try_from(kind)?], &hex(&vector["bytes"])?[..]].concat();
            seed("blind_relay", &format!("valid-{part}-{n}"), message)?;
        }
    }
    Ok(())
}

/// What nodes of the DHT say to each other, and what they store.
fn nodes() -> Result<()> {
    let vectors = vectors("hyper-swarm/tests/vectors/dht")?;
    let mut talk = Vec::new();
    for part in ["requests", "responses"] {
        for (n, vector) in list(&vectors[part]).iter().enumerate().step_by(7) {
            let bytes = hex(&vector["bytes"])?;
            seed("dht_message", &format!("valid-{part}-{n}"), &bytes)?;
            if let Ok(len) = u8::try_from(bytes.len()) {
                talk.extend([u8::try_from(3 * n)?, len]);
                talk.extend(&bytes);
            }
        }
    }
    seed("dht_node", "valid-all", &talk)?;
    for (n, vector) in list(&vectors["announce"]["announcements"])
        .iter()
        .enumerate()
        .step_by(5)
    {
        seed(
            "dht_records",
            &format!("valid-announcement-{n}"),
            hex(&vector["bytes"])?,
        )?;
    }
    for (n, vector) in list(&vectors["mutables"]).iter().enumerate().step_by(2) {
        seed("dht_records", &format!("valid-mutable-{n}"), hex(&vector["put"])?)?;
    }
    seed("dht_records", "valid-lookup", hex(&vectors["lookup"]["bytes"])?)?;
    let first = hex(&vectors["requests"][63]["bytes"])?;
    seed("dht_message", "cut", &first[..40])?;
    let short = hex(&vectors["requests"][4]["bytes"])?;
    let once = [&[0, u8::try_from(short.len())?], &short[..]].concat();
    seed("dht_node", "valid-once", once)?;
    seed("dht_node", "nothing", [0, 0])
}

/// Conversations as the target `replicator` takes them: an honest peer, one that lies now and then, and one that says much.
fn replicator() -> Result<()> {
    // Where it stands, an upgrade, stored; where it stands, all its blocks.
    let begin: [u8; 10] = [2, 5, 0, 8, 15, 2, 3, 1, 0, 40];
    let honest = [&begin[..], &[5, 0].repeat(60), &[8, 15]].concat();
    seed("replicator", "valid-honest", honest)?;
    let lies = [&begin[..], &[5, 0, 5, 1, 8, 15, 7, 2, 33, 4, 8, 15, 13].repeat(9)].concat();
    seed("replicator", "valid-lies", lies)?;
    let wishes = [
        &begin[..],
        &[10, 0, 9, 10, 1, 3, 10, 2, 50, 9, 3, 5, 0, 8, 4, 10, 7, 7].repeat(6),
        &[8, 15],
    ]
    .concat();
    seed("replicator", "valid-wishes", wishes)?;
    let talk = [
        15_u8, 128, 40, 15, 130, 47, 15, 192, 47, 15, 64, 47, 15, 133, 3, 15, 130, 9, 31, 200, 47, 15, 0, 0,
    ]
    .repeat(12);
    seed(
        "replicator",
        "valid-talk",
        [&begin[..], &[13], &talk, &[5, 0, 8, 15]].concat(),
    )?;
    seed(
        "replicator",
        "floods",
        [11_u8, 7, 1, 5, 0, 11, 2, 2, 9, 3, 12, 1, 31, 1, 9, 7, 14].repeat(20),
    )
}
