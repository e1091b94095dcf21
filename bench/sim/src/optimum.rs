//! The most that anyone could have answered on time on one replica, knowing all arrivals beforehand.
//!
//! An exact dynamic programme for exact service times. With one SLO for all, exchanging members shows that batches
//! of consecutive arrivals suffice; so a state is (arrivals passed, served) and its value the earliest time at which
//! the replica is free. States that serve no more and are free no earlier than another are dropped.

/// Share of `arrivals` (ns, ascending) that can be answered within `slo` of their arrival.
pub(crate) fn attainable(arrivals: &[u64], slo: u64, service: impl Fn(usize) -> u64) -> f64 {
    let most = (1..=arrivals.len()).take_while(|&batch| service(batch) <= slo).last().unwrap_or(0);
    let times: Vec<u64> =
        (0..=most).map(|batch| if batch == 0 { 0 } else { service(batch) }).collect();
    let mut states: Vec<Vec<(u32, u64)>> = vec![Vec::new(); arrivals.len() + 1];
    states[0].push((0, 0));
    for next in 0..arrivals.len() {
        let mut reached = std::mem::take(&mut states[next]);
        // Whoever is free before anyone else comes may as well be free then.
        reached.iter_mut().for_each(|state| state.1 = state.1.max(arrivals[next]));
        let frontier = pareto(reached);
        states[next + 1].extend(&frontier);
        for &(served, free) in &frontier {
            for batch in 1..=most.min(arrivals.len() - next) {
                let starts = free.max(arrivals[next + batch - 1]);
                let ends = starts + times[batch];
                if ends > arrivals[next] + slo {
                    break;
                }
                states[next + batch].push((served + batch as u32, ends));
            }
        }
    }
    let best = states[arrivals.len()].iter().map(|state| state.0).max().unwrap_or(0);
    f64::from(best) / arrivals.len().max(1) as f64
}

/// Drops what is no better than another in both, by served count descending.
fn pareto(mut states: Vec<(u32, u64)>) -> Vec<(u32, u64)> {
    states.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut earliest = u64::MAX;
    states.retain(|&(_, free)| {
        let better = free < earliest;
        earliest = earliest.min(free);
        better
    });
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries every assignment of arrivals to batches of consecutive served ones.
    fn brute(arrivals: &[u64], slo: u64, service: &impl Fn(usize) -> u64) -> usize {
        fn go(rest: &[u64], free: u64, slo: u64, service: &impl Fn(usize) -> u64) -> usize {
            let mut best = 0;
            for mask in 1u32..1 << rest.len() {
                let members: Vec<_> = (0..rest.len()).filter(|nth| mask >> nth & 1 == 1).collect();
                let (first, last) = (members[0], members[members.len() - 1]);
                let ends = free.max(rest[last]) + service(members.len());
                if ends <= rest[first] + slo {
                    // Later batches may also take earlier ones that were left out.
                    let left: Vec<_> = (0..rest.len())
                        .filter(|nth| mask >> nth & 1 == 0)
                        .map(|nth| rest[nth])
                        .collect();
                    best = best.max(members.len() + go(&left, ends, slo, service));
                }
            }
            best
        }
        go(arrivals, 0, slo, service)
    }

    #[test]
    fn equals_trying_everything() {
        let service = |batch: usize| 4 + 2 * batch as u64;
        for seed in 0..40u64 {
            let mut at = 0;
            let arrivals: Vec<u64> = (0..6)
                .map(|nth| {
                    at += (seed * 7 + nth * nth * 3) % 5;
                    at
                })
                .collect();
            let best = (attainable(&arrivals, 14, service) * 6.0).round() as usize;
            assert_eq!(best, brute(&arrivals, 14, &service), "{arrivals:?}");
        }
    }
}
