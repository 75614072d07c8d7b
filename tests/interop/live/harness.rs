//! The harness itself.

use hearth_interop::Peer;
use serde_json::json;

#[tokio::test]
async fn a_script_has_its_packages_and_answers() -> anyhow::Result<()> {
    let mut peer = Peer::start("echo.mjs", &[])?;
    let ready = peer.event("ready").await?;
    assert!(
        ready["core"]
            .as_str()
            .is_some_and(|version| version.starts_with("11."))
    );
    let answer = peer.ask(&json!({"do": "echo", "text": "hé"})).await?;
    assert_eq!(answer["text"], "hé");
    Ok(())
}

#[tokio::test]
async fn a_script_that_fails_is_a_failure_with_its_own_words() -> anyhow::Result<()> {
    let mut peer = Peer::start("echo.mjs", &[])?;
    let Err(error) = peer.ask(&json!({"do": "nothing"})).await else {
        anyhow::bail!("the failure was not noticed");
    };
    assert!(error.to_string().contains("no such command: nothing"), "{error}");
    Ok(())
}
