//! Assigns a partition to every stream.

use crate::position::PartitionId;
use crate::stream::StreamKey;

/// The number of partitions of a log: at least one, and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(u16);

impl PartitionCount {
    /// One partition.
    pub const ONE: Self = Self(1);

    /// Makes a count; `None` for 0.
    pub const fn new(count: u16) -> Option<Self> {
        if count == 0 { None } else { Some(Self(count)) }
    }

    /// The count.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Every partition, in order.
    pub fn partitions(self) -> impl Iterator<Item = PartitionId> + Clone {
        (0..self.0).map(PartitionId)
    }

    /// Whether the log has this partition.
    pub const fn has(self, partition: PartitionId) -> bool {
        partition.0 < self.0
    }

    /// The partition of a stream: murmur2 of the text of its key, without the sign bit, modulo the count. Kafka's default
    /// partitioner in Java computes the same.
    pub fn partition_of(self, stream: &StreamKey) -> PartitionId {
        let hash = murmur2(stream.to_text().as_bytes()) & 0x7fff_ffff;
        // The remainder is below the count, which has 16 bits, so the conversion never fails.
        PartitionId(u16::try_from(hash % u32::from(self.0)).unwrap_or_default())
    }
}

/// Austin Appleby's MurmurHash2 (<https://github.com/aappleby/smhasher>, 32 bits) with the seed of Kafka's clients.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka's keys are far shorter than 4 GiB.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = words.iter().fold(SEED ^ length, |hash, word| {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash.wrapping_mul(M) ^ k.wrapping_mul(M)
    });
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected hashes are those that Kafka's own Java client computes.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn streams_spread_over_all_partitions_and_each_stays_in_its_own() {
        let count = PartitionCount::new(12).unwrap();
        let token = "0123456789abcdef0123456789abcdef";
        let streams = (1..=200).map(|number| format!("{token}:{number}").parse().unwrap());
        let found: std::collections::BTreeSet<_> = streams.map(|stream| count.partition_of(&stream)).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), count.partitions().collect::<Vec<_>>());
    }
}
