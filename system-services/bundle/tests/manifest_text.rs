//! Manifests: what is read, what is refused and where, and that text and value say the same.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use bundle::manifest::{
    FileName, FileNameError, Format, Handler, Hooks, Image, ImageHook, Manifest, ManifestError, Measured,
    Template, TemplateImage, Tree, manifest_hash,
};
use proptest::prelude::*;
use proptest::{collection::vec, option};

const HASH: &str = "0123456789abcdefABCDEF000000000000000000000000000000000000000000";

fn full() -> String {
    format!(
        "# made by hand\n[update]\ncompatible=hearth-pc\nversion=1.2.3-rc.1\ndescription=First line\\nsecond\nbuild=42\n\
         min-rauc-version=1.14\n\n[bundle]\nformat=verity\nverity-hash={HASH}\nverity-salt={HASH}\nverity-size=8192\n\n\
         [handler]\nfilename=run.sh\nargs=--fast now\n\n[hooks]\nfilename=hook\nhooks=install-check;\n\n\
         [image.rootfs]\nsha256={HASH}\nsize=4096\nfilename=root.squashfs\ntype=raw\nhooks=pre-install;post-install;\n\
         adaptive=block-hash-index;\n\n[image.boot.variant-1]\nsha256={HASH}\nsize=0\nfilename=boot.img\n\n\
         [image.apps/web.shop]\nsha256={HASH}\nsize=1\nfilename=web.tar\nconvert=tar-extract;\nconverted=web.tree;\n\n\
         [meta.hearth]\nsbom=sbom.cdx.json\nempty=\n\n[rollout]\nanything=goes\n"
    )
}

/// The same without groups that most tests do not need.
fn small(bundle: &str, rest: &str) -> String {
    format!("[update]\ncompatible=x\n{bundle}{rest}")
}

fn verity() -> String {
    format!("[bundle]\nformat=verity\nverity-hash={HASH}\nverity-salt={HASH}\nverity-size=4096\n")
}

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text.as_bytes())
}

#[test]
fn every_known_key_is_read() {
    let manifest = parse(&full()).unwrap();
    assert_eq!(manifest.compatible, "hearth-pc");
    assert_eq!(manifest.version.as_deref(), Some("1.2.3-rc.1"));
    assert_eq!(manifest.description.as_deref(), Some("First line\nsecond"));
    assert_eq!(manifest.min_rauc_version.as_deref(), Some("1.14"));
    assert_eq!(manifest.format.tree().size, 8192);
    assert_eq!(
        manifest.format.tree().root[..9],
        [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xab]
    );
    assert_eq!(
        manifest.handler.as_ref().unwrap().args.as_deref(),
        Some("--fast now")
    );
    assert!(manifest.hooks.as_ref().unwrap().install_check);
    let [root, boot, app] = &manifest.images[..] else {
        panic!("{:?}", manifest.images)
    };
    assert_eq!(
        (root.class.as_str(), root.size, root.image_type.as_deref()),
        ("rootfs", 4096, Some("raw"))
    );
    assert_eq!(root.hooks, [ImageHook::PreInstall, ImageHook::PostInstall]);
    assert_eq!(root.adaptive, ["block-hash-index"]);
    assert_eq!(
        (boot.class.as_str(), boot.variant.as_deref()),
        ("boot", Some("variant-1"))
    );
    assert_eq!(
        (app.class.as_str(), app.artifact.as_deref()),
        ("apps", Some("web.shop"))
    );
    assert_eq!(app.converted[0].as_str(), "web.tree");
    assert_eq!(manifest.meta["hearth"]["sbom"], "sbom.cdx.json");
    assert_eq!(manifest.meta["hearth"]["empty"], "");
    assert_eq!(parse(&manifest.to_text()).unwrap(), manifest);
}

#[test]
fn a_crypt_bundle_has_a_key_and_no_other_has() {
    let crypt = verity().replace("verity\n", "crypt\n") + &format!("crypt-key={HASH}\n");
    let manifest = parse(&small(&crypt, "")).unwrap();
    assert!(matches!(manifest.format, Format::Crypt { .. }));
    assert_eq!(parse(&manifest.to_text()).unwrap(), manifest);
    let refused = parse(&small(&(verity() + &format!("crypt-key={HASH}\n")), ""));
    assert!(matches!(refused, Err(ManifestError::Value { key, .. }) if key == "crypt-key"));
}

#[test]
fn plain_bundles_are_refused_by_their_own_reason() {
    for bundle in ["", "[bundle]\n", "[bundle]\nformat=plain\n"] {
        assert_eq!(parse(&small(bundle, "")), Err(ManifestError::Plain), "{bundle:?}");
    }
    let refused = parse(&small("[bundle]\nformat=zip\n", ""));
    assert_eq!(
        refused,
        Err(ManifestError::UnknownFormat {
            line: 4,
            format: "zip".to_owned()
        })
    );
}

#[test]
fn unknown_and_repeated_groups_and_keys_are_named_with_their_line() {
    let text = small(&verity(), "[images.x]\n");
    assert_eq!(
        parse(&text),
        Err(ManifestError::UnknownGroup {
            line: 8,
            group: "images.x".to_owned()
        })
    );
    let text = small(&verity(), "[update]\n");
    assert_eq!(
        parse(&text),
        Err(ManifestError::DuplicateGroup {
            line: 8,
            group: "update".to_owned()
        })
    );
    let key = |line, group: &str, key: &str| (line, group.to_owned(), key.to_owned());
    for (text, expected) in [
        (
            "[update]\ncompatible=x\nversoin=1\n".to_owned() + &verity(),
            key(3, "update", "versoin"),
        ),
        (
            small(&(verity() + "verity-root=1\n"), ""),
            key(8, "bundle", "verity-root"),
        ),
        (
            small(
                &verity(),
                &format!("[image.a]\nfilename=a\nsha256={HASH}\nsize=1\nsha265=x\n"),
            ),
            key(12, "image.a", "sha265"),
        ),
        (
            small(&verity(), "[handler]\nfilename=a\nx=y\n"),
            key(10, "handler", "x"),
        ),
        (
            small(&verity(), "[hooks]\nfilename=a\nx=y\n"),
            key(10, "hooks", "x"),
        ),
    ] {
        let (line, group, key) = expected;
        assert_eq!(
            parse(&text),
            Err(ManifestError::UnknownKey { line, group, key }),
            "{text}"
        );
    }
    for group in ["update", "bundle", "rollout", "meta.a"] {
        let text = format!("[{group}]\na=1\n#\na=2\n");
        let expected = ManifestError::DuplicateKey {
            line: 4,
            group: group.to_owned(),
            key: "a".to_owned(),
        };
        assert_eq!(parse(&text), Err(expected));
    }
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        parse(&verity()),
        Err(ManifestError::MissingGroup { group: "update" })
    );
    let missing = |text: &str| match parse(text) {
        Err(ManifestError::MissingKey { group, key }) => format!("{group}.{key}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        missing(&("[update]\ncompatible=\n".to_owned() + &verity())),
        "update.compatible"
    );
    for key in ["verity-hash", "verity-salt", "verity-size"] {
        let bundle: String = verity()
            .lines()
            .filter(|line| !line.starts_with(key))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(missing(&small(&bundle, "")), format!("bundle.{key}"));
    }
    let image = format!("[image.a]\nfilename=a\nsha256={HASH}\nsize=1\n");
    for key in ["filename", "sha256", "size"] {
        let image: String = image
            .lines()
            .filter(|line| !line.starts_with(key))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(missing(&small(&verity(), &image)), format!("image.a.{key}"));
    }
    assert_eq!(
        missing(&small(&verity(), "[hooks]\nhooks=install-check;\n")),
        "hooks.filename"
    );
}

#[test]
fn values_of_a_wrong_form_are_refused() {
    let image = |key: &str, value: &str| {
        let mut keys = BTreeMap::from([("filename", "a"), ("sha256", HASH), ("size", "1")]);
        keys.insert(key, value);
        let keys: String = keys
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        parse(&small(&verity(), &format!("[image.a]\n{keys}")))
    };
    assert!(image("size", "18446744073709551615").is_ok());
    for (key, value) in [
        ("size", "-1"),
        ("size", "+1"),
        ("size", "1 "),
        ("size", "0x10"),
        ("size", ""),
        ("size", "18446744073709551616"),
        ("sha256", "abc"),
        ("sha256", &HASH[1..]),
        ("sha256", &format!("{HASH}0")),
        ("sha256", &HASH.replace('a', "g")),
        ("sha256", "../../../etc/passwd"),
        ("hooks", "explode;"),
        ("adaptive", "a b;"),
        ("adaptive", ";"),
        ("convert", "\\x;"),
        ("converted", "a/b;"),
        ("type", "\\q"),
    ] {
        let refused = image(key, value);
        assert!(
            matches!(&refused, Err(ManifestError::Value { key: named, group, .. }) if named == key && group == "image.a"),
            "{key}={value}: {refused:?}"
        );
    }
    for size in ["0", "4095", "4097", "-4096", ""] {
        let refused = parse(&small(
            &verity().replace("size=4096", &format!("size={size}")),
            "",
        ));
        assert!(
            matches!(refused, Err(ManifestError::Value { key, .. }) if key == "verity-size"),
            "{size}"
        );
    }
    let refused = parse(&("[update]\ncompatible=x\nmin-rauc-version=new\n".to_owned() + &verity()));
    assert!(matches!(
        refused,
        Err(ManifestError::MinRaucVersion { line: 3, .. })
    ));
}

#[test]
fn a_file_name_is_never_a_path() {
    let with = |name: &str| {
        parse(&small(
            &verity(),
            &format!("[image.a]\nfilename={name}\nsha256={HASH}\nsize=1\n"),
        ))
    };
    assert!(with("root.squashfs").is_ok());
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        ".",
        "..",
        "a\\nb",
        "a\\\\b",
        &"x".repeat(256),
    ] {
        assert!(
            matches!(with(name), Err(ManifestError::FileName { line: 9, .. })),
            "{name}"
        );
    }
    assert_eq!(FileName::new(""), Err(FileNameError::Empty));
    for group in [
        "image.",
        "image..",
        "image.a.",
        "image.a.b.c",
        "image./a",
        "image.a/",
        "image.a/..",
        "image.a/b/c",
        "image.a b",
        "meta.",
    ] {
        let text = small(
            &verity(),
            &format!("[{group}]\nfilename=a\nsha256={HASH}\nsize=1\n"),
        );
        assert!(
            matches!(parse(&text), Err(ManifestError::UnknownGroup { line: 8, .. })),
            "{group}"
        );
    }
}

#[test]
fn the_syntax_is_checked() {
    for (text, line) in [
        ("compatible=x\n", 1),
        ("[update\n", 1),
        ("[]\n", 1),
        ("[a[b]\n", 1),
        ("[update] x\n", 1),
        ("[update]\nword\n", 2),
        ("[update]\n=x\n", 2),
        ("[update]\na[de]=x\n", 2),
    ] {
        assert!(
            matches!(parse(text), Err(ManifestError::Syntax { line: at, .. }) if at == line),
            "{text:?}"
        );
    }
    assert_eq!(
        Manifest::parse(b"[update]\xff"),
        Err(ManifestError::NotText { offset: 8 })
    );
    assert_eq!(
        Manifest::parse(b"[update]\n\0"),
        Err(ManifestError::NotText { offset: 9 })
    );
    assert_eq!(
        Manifest::parse(&[b'\n'; 65537]),
        Err(ManifestError::TooLong { size: 65537 })
    );
    assert!(parse(&(small(&verity(), "") + &"\n".repeat(60_000))).is_ok());
}

/// As the real rauc wrote it: `[meta.hearth]` of a bundle with an SBOM, signed anew.
#[test]
fn our_meta_keys_stand_in_raucs_order() {
    let group =
        "[meta.hearth]\nsbom-sha256=h\nrollback-index=0\nchunks=1\nsbom=s\nanother=1\nyet-another=1\n";
    let manifest = parse(&small(&verity(), group)).unwrap();
    assert!(manifest.to_text().ends_with(group), "{}", manifest.to_text());
}

#[test]
fn labels_and_keys_of_meta_groups_are_words_as_rauc_demands() {
    for good in ["[meta.a-B_9]\n1-x_Y=z\n", "[meta.1]\n"] {
        assert!(parse(&small(&verity(), good)).is_ok(), "{good}");
    }
    for bad in [
        "[meta.a.b]\n",
        "[meta.a b]\n",
        "[meta.ä]\n",
        "[meta.a]\nb.c=1\n",
        "[meta.a]\nb c=1\n",
        "[meta.a]\nb+=1\n",
    ] {
        let error = parse(&small(&verity(), bad)).unwrap_err();
        assert!(matches!(error, ManifestError::Syntax { .. }), "{bad}: {error}");
    }
}

#[test]
fn errors_name_group_key_and_line_for_people() {
    let error = parse(&("[update]\ncompatible=x\nversoin=1\n".to_owned() + &verity()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 3") && error.contains("versoin") && error.contains("[update]"),
        "{error}"
    );
    assert!(ManifestError::Plain.to_string().contains("format=verity"));
}

#[test]
fn the_text_is_in_raucs_order() {
    let text = parse(&full()).unwrap().to_text();
    let at = |group: &str| text.find(group).unwrap_or_else(|| panic!("{group} in {text}"));
    let order = [
        "[update]",
        "[bundle]",
        "[handler]",
        "[hooks]",
        "[image.rootfs]",
        "[image.boot.variant-1]",
        "[image.apps/web.shop]",
        "[meta.hearth]",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{text}");
    assert!(text.contains("adaptive=block-hash-index;\n"));
}

#[test]
fn the_hash_of_a_manifest_is_sha256_of_its_bytes() {
    let hash = manifest_hash(b"abc");
    assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
}

#[test]
fn a_template_is_completed_and_not_half() {
    let text = "[update]\ncompatible=x\nversion=2\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=root\nadaptive=block-hash-index;\n[meta.a]\nb=c\n";
    let template = Template::parse(text.as_bytes()).unwrap();
    let format = Format::Verity(Tree {
        root: [1; 32],
        salt: [2; 32],
        size: 4096,
    });
    let manifest = template
        .clone()
        .complete(format.clone(), |name| {
            (name.as_str() == "root").then_some(Measured {
                sha256: [3; 32],
                size: 5,
            })
        })
        .unwrap();
    assert_eq!((manifest.images[0].sha256, manifest.images[0].size), ([3; 32], 5));
    assert_eq!(parse(&manifest.to_text()).unwrap(), manifest);
    let missing = template.complete(format.clone(), |_| None);
    assert!(matches!(missing, Err(ManifestError::FileMissing { name }) if name.as_str() == "root"));

    for filled in [
        format!("{text}[image.b]\nfilename=b\nsha256={HASH}\n"),
        text.replace("=verity\n", "=verity\nverity-size=4096\n"),
    ] {
        assert!(
            matches!(
                Template::parse(filled.as_bytes()),
                Err(ManifestError::Value { .. })
            ),
            "{filled}"
        );
    }
    assert_eq!(
        Template::parse(b"[update]\ncompatible=x\n[bundle]\nformat=plain\n"),
        Err(ManifestError::Plain)
    );

    let strange = Template {
        compatible: "x".to_owned(),
        images: vec![TemplateImage::new("a]b", FileName::new("f").unwrap())],
        ..Template::default()
    };
    assert!(
        strange
            .complete(format, |_| Some(Measured {
                sha256: [0; 32],
                size: 0
            }))
            .is_err()
    );
}

fn hash() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn text() -> impl Strategy<Value = String> {
    r"[ -~äöü€;=#\n\t\r\\]{1,40}"
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_;-]{1,12}"
}

fn file_name() -> impl Strategy<Value = FileName> {
    "[a-zA-Z0-9_;. -]{1,20}".prop_filter_map("dots", |name| FileName::new(&name).ok())
}

fn image() -> impl Strategy<Value = Image> {
    let part = "[a-zA-Z0-9_-]{1,8}";
    (
        (part, option::of(part), option::of("[a-z][a-z.]{0,6}")),
        (file_name(), hash(), any::<u64>(), option::of(text())),
        vec(prop::sample::select(&ImageHook::ALL[..]), 0..3),
        (vec(word(), 0..3), vec(word(), 0..2), vec(file_name(), 0..2)),
    )
        .prop_map(
            |((class, variant, artifact), (filename, sha256, size, image_type), hooks, lists)| Image {
                class,
                variant: if artifact.is_some() { None } else { variant },
                artifact,
                filename,
                sha256,
                size,
                image_type,
                hooks,
                adaptive: lists.0,
                convert: lists.1,
                converted: lists.2,
            },
        )
}

fn format() -> impl Strategy<Value = Format> {
    (hash(), hash(), 1..u64::MAX / 4096, option::of(hash())).prop_map(|(root, salt, blocks, key)| {
        let tree = Tree {
            root,
            salt,
            size: blocks * 4096,
        };
        match key {
            Some(key) => Format::Crypt {
                tree,
                key: key.into(),
            },
            None => Format::Verity(tree),
        }
    })
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let version = "[0-9]{1,3}(\\.[0-9]{1,3}){0,2}";
    (
        (
            text(),
            option::of(text()),
            option::of(text()),
            option::of(text()),
            option::of(version),
        ),
        format(),
        option::of((file_name(), option::of(text()))),
        option::of((file_name(), any::<bool>())),
        vec(image(), 0..4),
        prop::collection::btree_map(
            "[a-z]{1,6}",
            prop::collection::btree_map("[a-z-]{1,6}", text(), 0..3),
            0..3,
        ),
    )
        .prop_map(|(update, format, handler, hooks, mut images, meta)| {
            let mut seen = std::collections::BTreeSet::new();
            images.retain(|image| {
                seen.insert((image.class.clone(), image.variant.clone(), image.artifact.clone()))
            });
            Manifest {
                compatible: update.0,
                version: update.1,
                description: update.2,
                build: update.3,
                min_rauc_version: update.4,
                format,
                handler: handler.map(|(filename, args)| Handler { filename, args }),
                hooks: hooks.map(|(filename, install_check)| Hooks {
                    filename,
                    install_check,
                }),
                images,
                meta,
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(manifest in manifest()) {
        let text = manifest.to_text();
        prop_assert_eq!(parse(&text).map_err(|error| format!("{error} in {text}")), Ok(manifest));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000)) {
        let _ = Manifest::parse(&bytes);
        let _ = Template::parse(&bytes);
    }

    #[test]
    fn changed_manifests_never_panic_and_what_reads_is_stable(
        cuts in vec((any::<prop::sample::Index>(), any::<char>()), 0..6)
    ) {
        let mut text: Vec<char> = full().chars().collect();
        for (at, with) in cuts {
            let at = at.index(text.len());
            text[at] = with;
        }
        if let Ok(manifest) = parse(&text.into_iter().collect::<String>()) {
            prop_assert_eq!(parse(&manifest.to_text()), Ok(manifest));
        }
    }
}
