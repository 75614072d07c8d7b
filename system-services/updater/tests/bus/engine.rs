//! An engine that writes no slot and does what a test tells it, also badly.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use updater::engine::{
    Access, BundleInfo, Engine, EngineError, EngineErrorKind, EngineProgress, ImageInfo, Job, ManifestHash,
    Observer, Source, Written, WrittenImage,
};

/// Bytes of the made-up bundle.
pub const TOTAL: u64 = 1000;

/// Bytes of it that the box lacks.
pub const LACKING: u64 = 300;

/// What a test sets and looks at.
#[derive(Debug)]
pub struct Fake {
    pub info: Mutex<BundleInfo>,
    /// Failures that come before anything works again.
    pub failures: Mutex<Vec<EngineError>>,
    /// Streams wait here until a test lets them go on, or until they are stopped.
    pub hold: AtomicBool,
    pub calls: Mutex<Vec<String>>,
    /// Estimates that were begun; while they are held they go on until they are stopped.
    pub estimates: AtomicU64,
    pub hold_estimates: AtomicBool,
    /// What the next ones say.
    pub lacking: Mutex<Result<u64, EngineErrorKind>>,
    pub streams_at_once: AtomicU64,
    /// What each stream was given for its server.
    pub accesses: Mutex<Vec<Access>>,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let image = |class: &str| ImageInfo {
            class: class.into(),
            filename: format!("{class}.img"),
            sha256: "ab".repeat(32),
            size_bytes: 500,
            adaptive: vec!["block-hash-index".into()],
            ..ImageInfo::default()
        };
        let info = BundleInfo {
            compatible: "hearth-qemu-arm64".into(),
            version: Some("2.0.0".into()),
            description: Some("Better.".into()),
            build: Some("7".into()),
            size_bytes: TOTAL,
            manifest_hash: ManifestHash([2; 32]),
            format: "verity".into(),
            verity_hash: "01".repeat(32),
            verity_salt: "02".repeat(32),
            verity_size: 4096,
            signer: "CN=Test".into(),
            images: vec![image("rootfs"), image("boot")],
            meta: [("hearth".into(), [("sbom".into(), "x".into())].into())].into(),
        };
        Arc::new(Self {
            info: Mutex::new(info),
            failures: Mutex::default(),
            hold: AtomicBool::new(false),
            calls: Mutex::default(),
            estimates: AtomicU64::new(0),
            hold_estimates: AtomicBool::new(false),
            lacking: Mutex::new(Ok(LACKING)),
            streams_at_once: AtomicU64::new(0),
            accesses: Mutex::default(),
        })
    }

    fn called(&self, what: impl Into<String>) -> Result<(), EngineError> {
        self.calls.lock().unwrap().push(what.into());
        self.failures.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    pub fn fail(&self, kind: EngineErrorKind, sentence: &str) {
        self.failures
            .lock()
            .unwrap()
            .push(EngineError::new(kind, sentence));
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

/// The same fake over restarts of the service.
pub struct Shared(pub Arc<Fake>);

impl Engine for Shared {
    fn inspect(&self, source: &Source, _: &Access) -> Result<BundleInfo, EngineError> {
        self.0.called(format!("inspect {source}"))?;
        Ok(self.0.info.lock().unwrap().clone())
    }

    fn stream(&self, job: &Job, observer: &dyn Observer) -> Result<Written, EngineError> {
        self.0.accesses.lock().unwrap().push(job.access.clone());
        self.0.called(format!("stream {}", job.target.slot()))?;
        assert_eq!(
            self.0.streams_at_once.fetch_add(1, Ordering::SeqCst),
            0,
            "one call at a time"
        );
        let result = self.stream_parts(observer);
        self.0.streams_at_once.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn estimate(
        &self,
        source: &Source,
        _: &Access,
        hash: ManifestHash,
        observer: &dyn Observer,
    ) -> Result<u64, EngineError> {
        assert!(matches!(source, Source::Https(_)));
        assert_eq!(hash, self.0.info.lock().unwrap().manifest_hash);
        self.0.estimates.fetch_add(1, Ordering::SeqCst);
        while self.0.hold_estimates.load(Ordering::SeqCst) {
            if observer.should_stop() {
                return Err(EngineError::stopped());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let lacking = *self.0.lacking.lock().unwrap();
        lacking.map_err(|kind| EngineError::new(kind, "No."))
    }

    fn read_back(&self, job: &Job, written: &Written, observer: &dyn Observer) -> Result<(), EngineError> {
        self.0.called(format!("read back {}", job.target.slot()))?;
        assert_eq!(written.images.len(), 2);
        observer.progressed(EngineProgress {
            done_bytes: TOTAL,
            total_bytes: TOTAL,
            fetched_bytes: 300,
        });
        Ok(())
    }
}

impl Shared {
    fn stream_parts(&self, observer: &dyn Observer) -> Result<Written, EngineError> {
        for done_bytes in [100, 400, TOTAL] {
            observer.progressed(EngineProgress {
                done_bytes,
                total_bytes: TOTAL,
                fetched_bytes: done_bytes * 3 / 10,
            });
            while self.0.hold.load(Ordering::SeqCst) || observer.should_stop() {
                if observer.should_stop() {
                    return Err(EngineError::stopped());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let image = |class: &str| WrittenImage {
            class: class.into(),
            sha256: "ab".repeat(32),
            size_bytes: 500,
        };
        Ok(Written {
            images: vec![image("rootfs"), image("boot")],
            fetched_bytes: 300,
        })
    }
}
