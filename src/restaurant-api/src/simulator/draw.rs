//! Seeded randomness whose bytes never change with a library upgrade: ChaCha8 is a published
//! function, and the mapping from its words to choices is written here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::Uuid;

use super::Micros;

/// What a family of draws is for. Every order has its own stream in each family, so a restart
/// needs to know only how many orders there were, never the inner state of a generator.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Ticks = 1,
    Orders = 2,
    Feedback = 3,
    OrderIds = 4,
    FeedbackIds = 5,
    Epoch = 6,
}

#[derive(Clone, Copy)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Content depends on the seed alone; identifiers mix the epoch in as well, so that two
    /// lives of one seed tell the same story under different names.
    pub(super) fn new(purpose: Purpose, seed: u64, epoch: Uuid) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..24].copy_from_slice(epoch.as_bytes());
        key[31] = purpose as u8;
        Self(key)
    }

    pub(super) fn stream(&self, number: u64) -> Draw {
        let mut rng = ChaCha8Rng::from_seed(self.0);
        rng.set_stream(number);
        Draw(rng)
    }
}

pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// Uniform in `0..n`. The bias of the multiplication is below n / 2^32.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    /// Uniform in `low..=high` for spans beyond 32 bits, as spans of microseconds are.
    pub(super) fn between_micros(&mut self, low: Micros, high: Micros) -> Micros {
        let span = (high - low) as u128 + 1;
        low + ((u128::from(self.0.next_u64()) * span) >> 64) as Micros
    }

    /// An index, chosen in proportion to the weights.
    pub(super) fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.len() - 1
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A Poisson count by multiplying uniforms: exact, and quick for the small means used here.
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// A UUIDv7 of this moment: 48 bits of milliseconds, 12 bits of the fraction, 62 random bits.
    /// The fraction keeps ids of one millisecond in order, which b-trees of ids like.
    pub(super) fn uuid_v7(&mut self, at: Micros) -> Uuid {
        let random = self.0.next_u64();
        let millis = (at.div_euclid(1000) as u64) & 0xffff_ffff_ffff;
        let fraction = (at.rem_euclid(1000) as u64) * 4096 / 1000;
        Uuid::from_u64_pair((millis << 16) | 0x7000 | fraction, (0b10 << 62) | (random >> 2))
    }

    /// Sixteen random bytes in the dress of a random (version 4) UUID.
    pub(super) fn uuid_v4(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}
