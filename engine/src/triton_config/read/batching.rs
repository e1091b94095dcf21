//! `dynamic_batching`, and what of it the batching here heeds.

use super::super::fault::{ConfigFault, Fault, Warning};
use super::super::fields::set;
use super::super::text::Field;
use super::super::{DynamicBatching, QueuePolicy};

const FIELDS: [&str; 7] = [
    "preferred_batch_size",
    "max_queue_delay_microseconds",
    "preserve_ordering",
    "priority_levels",
    "default_priority_level",
    "default_queue_policy",
    "priority_queue_policy",
];

const POLICY_FIELDS: [&str; 4] =
    ["timeout_action", "default_timeout_microseconds", "allow_timeout_override", "max_queue_size"];

/// What has no effect, and why.
const SIZES: &str = "the sizes of batches are learned; name one preferred size to have it fixed";
const DELAY: &str =
    "how long to wait for company is learned; it goes with one preferred_batch_size";
const ORDER: &str = "every request gets its own answer, in the order of its connection";
const LEVELS: &str = "a request's own priority is heeded as it is; levels need no setting up";
const OVERRIDE: &str = "a request's own timeout is always heeded";

pub(super) fn dynamic(
    field: &Field,
    warnings: &mut Vec<Warning>,
) -> Result<DynamicBatching, ConfigFault> {
    let mut batching = DynamicBatching::default();
    let mut delay_at = field.at;
    for field in &field.message()?.fields {
        let mut warn = |field: &Field, name, why| {
            warnings.push(Warning { at: field.at, field: name, why });
        };
        match field.name.as_str() {
            "preferred_batch_size" => {
                let size: u32 = field.count()?;
                if size == 0 {
                    let name = field.name.clone();
                    return Err(field.fault(Fault::Kind { name, wanted: "1 or more" }));
                }
                batching.preferred.push(size);
            }
            "max_queue_delay_microseconds" => {
                set(&mut batching.max_delay_us, field, field.count()?)?;
                delay_at = field.at;
            }
            "preserve_ordering" if !field.truth()? => {}
            "preserve_ordering" => warn(field, "preserve_ordering", ORDER),
            "priority_levels" if field.count::<u64>()? == 0 => {}
            "priority_levels" => warn(field, "priority_levels", LEVELS),
            "default_priority_level" if field.count::<u64>()? == 0 => {}
            "default_priority_level" => warn(field, "default_priority_level", LEVELS),
            "default_queue_policy" => {
                set(&mut batching.queue, field, policy(field, warnings)?)?;
            }
            "priority_queue_policy" => warn(field, "priority_queue_policy", LEVELS),
            _ => return Err(field.unknown(&FIELDS)),
        }
    }
    if batching.preferred.len() > 1 {
        warnings.push(Warning { at: field.at, field: "preferred_batch_size", why: SIZES });
    }
    if batching.max_delay_us.is_some_and(|it| it > 0) && batching.preferred.len() != 1 {
        let field = "max_queue_delay_microseconds";
        warnings.push(Warning { at: delay_at, field, why: DELAY });
    }
    Ok(batching)
}

fn policy(field: &Field, warnings: &mut Vec<Warning>) -> Result<QueuePolicy, ConfigFault> {
    const ACTIONS: [(&str, bool); 4] =
        [("REJECT", false), ("DELAY", true), ("0", false), ("1", true)];
    let (mut timeout, mut delays, mut tasks) = (None, None, None);
    for field in &field.message()?.fields {
        match field.name.as_str() {
            "timeout_action" => {
                set(&mut delays, field, field.name_of(&ACTIONS, "REJECT or DELAY")?)?;
            }
            "default_timeout_microseconds" => set(&mut timeout, field, field.count::<u64>()?)?,
            "allow_timeout_override" if field.truth()? => {}
            "allow_timeout_override" => {
                let (at, field) = (field.at, "allow_timeout_override: false");
                warnings.push(Warning { at, field, why: OVERRIDE });
            }
            "max_queue_size" => set(&mut tasks, field, field.count::<u32>()?)?,
            _ => return Err(field.unknown(&POLICY_FIELDS)),
        }
    }
    // 0 means that there is none.
    Ok(QueuePolicy {
        timeout_us: timeout.filter(|it| *it > 0),
        delays: delays.unwrap_or(false),
        tasks_max: tasks.filter(|it| *it > 0),
    })
}
