//! Cutting a stream where its content says so.

use fastcdc::v2020::{Normalization, cut, select_masks};

/// Least of the smallest lengths.
const LEAST: u32 = 512;
/// Most of the greatest lengths: one chunk is in memory.
const MOST: u32 = 1 << 20;

/// Lengths of chunks in bytes: powers of two, 512 bytes to 1 MiB. Only equal parameters give equal chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    min: u32,
    average: u32,
    max: u32,
}

/// Lengths of chunks that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "chunks of {min} to {max} bytes, {average} on average, are not possible; use ascending powers of two between 512 and 1048576"
)]
pub struct ParametersError {
    /// Least length.
    pub min: u32,
    /// Average length.
    pub average: u32,
    /// Greatest length.
    pub max: u32,
}

impl Parameters {
    /// Checks the lengths.
    pub fn new(min: u32, average: u32, max: u32) -> Result<Self, ParametersError> {
        let powers = [min, average, max].iter().all(|length| length.is_power_of_two());
        if !powers || min < LEAST || min >= average || average >= max || max > MOST {
            return Err(ParametersError { min, average, max });
        }
        Ok(Self { min, average, max })
    }

    /// Least length of a chunk that is not the last.
    pub fn min(&self) -> u32 {
        self.min
    }

    /// Average length.
    pub fn average(&self) -> u32 {
        self.average
    }

    /// Greatest length.
    pub fn max(&self) -> u32 {
        self.max
    }
}

impl Default for Parameters {
    /// 4, 16 and 64 KiB.
    fn default() -> Self {
        Self {
            min: 4 << 10,
            average: 16 << 10,
            max: 64 << 10,
        }
    }
}

/// Cuts what it is fed. Memory: what one call feeds and the longest chunk.
#[derive(Debug, Clone)]
pub struct Chunker {
    parameters: Parameters,
    /// Strict and relaxed mask (before and behind the average length).
    masks: (u64, u64),
    rest: Vec<u8>,
}

impl Chunker {
    /// At the beginning of a stream.
    pub fn new(parameters: Parameters) -> Self {
        let masks = select_masks(parameters.average as usize, Normalization::Level1);
        Self {
            parameters,
            masks,
            rest: Vec::new(),
        }
    }

    /// The next bytes; `each` gets every chunk that is complete.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        // A cut needs to see the longest chunk: with less, the end of the data would be taken for one.
        while self.rest.len() - at >= self.parameters.max as usize {
            let length = self.length(&self.rest[at..]);
            each(&self.rest[at..at + length]);
            at += length;
        }
        self.rest.drain(..at);
    }

    /// The end of the stream: `each` gets what is left.
    pub fn finish(self, each: &mut dyn FnMut(&[u8])) {
        let mut at = 0;
        while at < self.rest.len() {
            let length = self.length(&self.rest[at..]);
            each(&self.rest[at..at + length]);
            at += length;
        }
    }

    fn length(&self, bytes: &[u8]) -> usize {
        let Parameters { min, average, max } = self.parameters;
        let (strict, relaxed) = self.masks;
        let (_, length) = cut(
            bytes,
            min as usize,
            average as usize,
            max as usize,
            strict,
            relaxed,
            strict << 1,
            relaxed << 1,
        );
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let step = |_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        (0..length).map(step).collect()
    }

    fn lengths(data: &[u8], piece: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut chunker = Chunker::new(Parameters::default());
        data.chunks(piece)
            .for_each(|part| chunker.feed(part, &mut |chunk| lengths.push(chunk.len())));
        chunker.finish(&mut |chunk| lengths.push(chunk.len()));
        lengths
    }

    #[test]
    fn chunks_do_not_depend_on_how_the_data_is_fed() {
        let data = noise(500_000);
        let whole = lengths(&data, data.len());
        assert_eq!(whole.iter().sum::<usize>(), data.len());
        for piece in [1000, 65_536, 70_001] {
            assert_eq!(lengths(&data, piece), whole);
        }
    }

    #[test]
    fn chunks_are_the_ones_of_fastcdc_2020() {
        let data = noise(500_000);
        let theirs = fastcdc::v2020::FastCDC::new(&data, 4096, 16384, 65536);
        assert_eq!(
            lengths(&data, 100_000),
            theirs.map(|chunk| chunk.length).collect::<Vec<_>>()
        );
    }

    #[test]
    fn odd_lengths_of_chunks_are_refused() {
        for (min, average, max) in [
            (4096, 16384, 65537),
            (256, 512, 1024),
            (4096, 4096, 65536),
            (0, 16384, 65536),
            (4096, 16384, 1 << 21),
        ] {
            assert!(
                Parameters::new(min, average, max).is_err(),
                "{min} {average} {max}"
            );
        }
    }
}
