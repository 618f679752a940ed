//! One vector of a prompt's rows.

/// How rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last one.
    Last,
}

/// Rows that are being put together.
#[derive(Debug)]
pub struct Pool {
    pooling: Pooling,
    /// The sum of the rows, or the last of them.
    sum: Vec<f64>,
}

impl Pool {
    /// No rows yet; each has `width` numbers.
    pub fn new(pooling: Pooling, width: usize) -> Pool {
        Pool { pooling, sum: vec![0.0; width] }
    }

    /// Takes further rows.
    pub fn push(&mut self, rows: &[f32]) {
        for row in rows.chunks_exact(self.sum.len().max(1)) {
            for (sum, &number) in self.sum.iter_mut().zip(row) {
                *sum = if self.pooling == Pooling::Mean { *sum } else { 0.0 } + f64::from(number);
            }
        }
    }

    /// The vector, at length 1: so long that the number of rows in a mean does not show. Nothing stays nothing.
    pub fn normalised(self) -> Vec<f32> {
        let length = self.sum.iter().map(|n| n * n).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        self.sum.iter().map(|n| (n * scale) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_pooled_and_scaled() {
        let pooled = |pooling, parts: &[&[f32]]| {
            let mut pool = Pool::new(pooling, 2);
            parts.iter().for_each(|part| pool.push(part));
            pool.normalised()
        };
        assert_eq!(pooled(Pooling::Mean, &[&[1.0, 0.0, 2.0, 0.0], &[0.0, 4.0]]), [0.6, 0.8]);
        assert_eq!(pooled(Pooling::Last, &[&[1.0, 0.0, 2.0, 0.0], &[0.0, 4.0]]), [0.0, 1.0]);
        assert_eq!(pooled(Pooling::Mean, &[&[0.0, 0.0]]), [0.0, 0.0]);
    }
}
