//! Whether a server answers rightly while it batches: different rows at the same moment, each answer held against the
//! same weights in double precision. A model's last digits depend on the batch it ran in, so equal bytes can't be asked
//! for under load; this is.

use std::io::Write;
use std::process::Stdio;

use super::PeersError;
use super::launch::{Place, python};
use crate::overhead::ask::{Question, Said, of_raw, row};
use crate::overhead::servers::Server;

/// As many at once as a run has connections, so that batches are as large.
pub(super) const CALLERS: u64 = 64;
pub(super) const ROUNDS: usize = 3;
/// Float32 sums of 784 values in different orders differ by less.
const TOLERANCE: f32 = 0.01;

/// The right answers to the rows of the seeds `0..CALLERS`.
pub(super) struct Reference(Vec<Vec<f32>>);

impl Reference {
    pub(super) fn compute(place: &Place, with: &str, model: &str) -> Result<Reference, PeersError> {
        let failed = |source| PeersError::Reference { source };
        let mut command = python(&place.python(with), &place.shared());
        command.arg(place.shared().join("reference.py")).arg(model);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let rows = (0..CALLERS).flat_map(row).flat_map(f32::to_le_bytes).collect::<Vec<_>>();
        // Closed once written, which is how the program knows the end.
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&rows).map_err(failed)?;
        }
        let output = child.wait_with_output().map_err(failed)?;
        let answers = of_raw(&output.stdout).filter(|answers| !answers.is_empty());
        let answers = answers.ok_or(PeersError::FailedReference)?;
        let width = answers.len() / CALLERS as usize;
        Ok(Reference(answers.chunks(width).map(<[f32]>::to_vec).collect()))
    }

    fn fits(&self, seed: u64, answer: &[f32]) -> bool {
        self.0.get(seed as usize).is_some_and(|expected| close(expected, answer))
    }

    /// Every caller asks its own row, several times, on connections of its own.
    pub(super) fn check(&self, server: &Server, question: &Question<'_>) -> Result<(), PeersError> {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..CALLERS)
                .map(|seed| scope.spawn(move || self.ask(server, question, seed)))
                .collect();
            let mut answered = asking.into_iter().map(|caller| {
                caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            answered.try_for_each(|result| result)
        })
    }

    fn ask(&self, server: &Server, question: &Question<'_>, seed: u64) -> Result<(), PeersError> {
        let request = question.request(server.address, seed);
        for _ in 0..ROUNDS {
            let Said { is_answer, body } = question.ask(server.address, &request)?;
            let right = question.answer(&body).is_some_and(|it| self.fits(seed, &it));
            if !is_answer || !right {
                let answer = String::from_utf8_lossy(&body).into_owned();
                return Err(PeersError::WrongAnswer { server: server.name, seed, answer });
            }
        }
        Ok(())
    }
}

fn close(expected: &[f32], answer: &[f32]) -> bool {
    expected.len() == answer.len()
        && expected.iter().zip(answer).all(|(a, b)| (a - b).abs() <= TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_callers_answer_is_no_right_one() {
        let reference = Reference(vec![vec![391.5], vec![402.25]]);
        assert!(reference.fits(0, &[391.503]));
        assert!(!reference.fits(0, &[402.25]));
        assert!(!reference.fits(1, &[402.25, 402.25]), "one number too many");
        assert!(!reference.fits(2, &[402.25]), "nobody asked for that");
        assert!(!reference.fits(0, &[f32::NAN]));
    }
}
