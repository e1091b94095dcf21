//! Which CPUs do what. Pure.

/// A server's CPUs, its models' and its clients'; they share none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Apart {
    pub(super) front: usize,
    pub(super) client: usize,
    /// Empty: too few CPUs to keep any for models alone.
    pub(super) models: Vec<usize>,
}

/// Models get as many as this at most: a replica that feeds a GPU keeps few busy.
const MODEL_CPUS_MAX: usize = 4;

/// None where there is one CPU.
pub(super) fn apart(cpus: &[usize]) -> Option<Apart> {
    let [front, client, rest @ ..] = cpus else { return None };
    let models = if rest.len() < 2 { &[] } else { &rest[..rest.len().min(MODEL_CPUS_MAX)] };
    Some(Apart { front: *front, client: *client, models: models.to_vec() })
}

/// A front-end core and the one where its model and its clients run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) front: usize,
    pub(super) beside: usize,
}

/// The front ends to measure with, 1, 2, 4, 8, as far as the CPUs go, and the pairs of the largest. `cores` are the CPUs
/// by the physical core that they share.
pub(super) fn pairs(cores: &[Vec<usize>]) -> (Vec<usize>, Vec<Pair>) {
    const SIZES: [usize; 4] = [1, 2, 4, 8];
    let all = all_pairs(cores);
    let sizes: Vec<usize> = SIZES.into_iter().filter(|&size| size <= all.len()).collect();
    let most = sizes.last().copied().unwrap_or(0);
    (sizes, all[..most].to_vec())
}

/// Where each core has two CPUs, these are a pair: else one pair alone would have two cores, and eight only as many.
fn all_pairs(cores: &[Vec<usize>]) -> Vec<Pair> {
    let within = |core: &Vec<usize>| match core[..] {
        [front, beside, ..] => Some(Pair { front, beside }),
        _ => None,
    };
    if let Some(pairs) = cores.iter().map(within).collect() {
        return pairs;
    }
    let cpus: Vec<usize> = cores.concat();
    let (fronts, besides) = cpus.split_at(cpus.len() / 2);
    let both = fronts.iter().zip(besides);
    both.map(|(&front, &beside)| Pair { front, beside }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_shares_a_cpu_where_there_are_enough() {
        let cpus: Vec<usize> = (0..16).collect();
        let given = apart(&cpus).expect("enough");
        assert_eq!(given, Apart { front: 0, client: 1, models: vec![2, 3, 4, 5] });
        assert_eq!(apart(&cpus[..4]).expect("enough").models, [2, 3]);
        assert!(apart(&cpus[..3]).expect("enough").models.is_empty());
        assert!(apart(&cpus[..2]).expect("enough").models.is_empty());
        assert_eq!(apart(&cpus[..1]), None);
    }

    #[test]
    fn front_ends_double_as_far_as_each_has_a_cpu_beside_it() {
        let cores: Vec<Vec<usize>> = (10..26).map(|cpu| vec![cpu]).collect();
        let (sizes, given) = pairs(&cores);
        assert_eq!(sizes, [1, 2, 4, 8]);
        assert_eq!(given.len(), 8);
        assert_eq!(given[0], Pair { front: 10, beside: 18 });
        assert_eq!(given[7], Pair { front: 17, beside: 25 });
        assert_eq!(pairs(&cores[..7]).0, [1, 2]);
        assert_eq!(pairs(&cores[..2]), (vec![1], vec![Pair { front: 10, beside: 11 }]));
        assert_eq!(pairs(&cores[..1]), (vec![], vec![]));
        assert_eq!(pairs(&[]), (vec![], vec![]));
    }

    #[test]
    fn a_front_end_has_both_threads_of_its_core() {
        let cores = [vec![0, 4], vec![1, 5], vec![2, 6], vec![3, 7]];
        let (sizes, given) = pairs(&cores);
        assert_eq!(sizes, [1, 2, 4]);
        assert_eq!(given[3], Pair { front: 3, beside: 7 });
        let mixed = [vec![0, 1], vec![2], vec![3]];
        assert_eq!(pairs(&mixed).1, [Pair { front: 0, beside: 2 }, Pair { front: 1, beside: 3 }]);
    }
}
