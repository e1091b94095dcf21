//! SLO classes: what requests are worth beside each other, and how soon each kind wants its answer.
//!
//! The table is made once, from the configuration. Class 0 is `default` and is always there. A request without a
//! class costs no look-up: its model's class is known by number.

use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::Late;

use crate::ids::ClassId;

/// Classes at most, `default` included: each model counts per class, in an array that lies in each core's records.
pub const CLASSES_MAX: usize = 16;

/// The largest weight. Times the most rows of a request it stays far below what 32 bits hold.
pub const WEIGHT_MAX: u32 = 1000;

/// The class of whoever names none.
pub const DEFAULT: &str = "default";

/// A name stands in a header, in metrics and in messages.
const NAME_CHARS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SloClass {
    /// Its place in the table.
    pub id: ClassId,
    pub name: Arc<str>,
    /// What one row of it is worth, 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// Requests that say this priority, 1 or more, are of this class.
    pub priority: Option<u32>,
    /// In place of the model's.
    pub slo: Option<Duration>,
    /// In place of the model's.
    pub late: Option<Late>,
}

impl SloClass {
    /// One that is not in a table yet.
    pub fn new(name: &str, weight: u32) -> SloClass {
        SloClass {
            id: ClassId::DEFAULT,
            name: name.into(),
            weight,
            priority: None,
            slo: None,
            late: None,
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    #[error(
        "classes: '{name}' is no name for a class; use 1 to {NAME_CHARS_MAX} letters, digits, '-' and '_'"
    )]
    Name { name: String },
    #[error("classes.{name}: weight is {weight}; use 1 to {WEIGHT_MAX}")]
    Weight { name: String, weight: u32 },
    #[error("classes.{name}: slo is zero; give it a duration, or leave it out for the model's")]
    SloZero { name: String },
    #[error("classes.{name}: priority is 0, which says none; use 1 (the highest) or more")]
    PriorityZero { name: String },
    #[error("classes.{name}: another class has the priority {priority}; give each its own")]
    PriorityTwice { name: String, priority: u32 },
    #[error("classes.{name}: late is '{late}'; use \"serve\" or \"shed\"")]
    Late { name: String, late: String },
    #[error("there are {count} classes with '{DEFAULT}'; use at most {CLASSES_MAX}")]
    TooMany { count: usize },
    #[error("{model}: there is no class '{name}'; the classes are {known}")]
    Unknown { model: String, name: String, known: String },
}

/// All classes of an engine; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Arc<[SloClass]>);

impl Classes {
    /// `default` first, whether or not it is among those given, then the others in their order.
    pub fn new(given: Vec<SloClass>) -> Result<Classes, ClassError> {
        let (defaults, others): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|class| &*class.name == DEFAULT);
        let default = defaults.into_iter().next().unwrap_or_else(|| SloClass::new(DEFAULT, 1));
        let mut all: Vec<_> = [default].into_iter().chain(others).collect();
        if all.len() > CLASSES_MAX {
            return Err(ClassError::TooMany { count: all.len() });
        }
        for (id, class) in (0..).zip(&mut all) {
            check(class)?;
            class.id = ClassId(id);
        }
        check_priorities(&all)?;
        Ok(Classes(all.into()))
    }

    /// Few enough that comparing each is the fastest look-up.
    pub fn find(&self, name: &[u8]) -> Option<&SloClass> {
        self.0.iter().find(|class| class.name.as_bytes() == name)
    }

    /// The class that a request's priority means; none where no class has it, as it is with a server without levels.
    pub fn of_priority(&self, priority: u32) -> Option<&SloClass> {
        self.0.iter().find(|class| class.priority == Some(priority))
    }

    /// A class of this table.
    pub fn get(&self, id: ClassId) -> &SloClass {
        &self.0[usize::from(id.0)]
    }

    pub fn iter(&self) -> impl Iterator<Item = &SloClass> {
        self.0.iter()
    }

    /// Their names, for a message.
    pub fn known(&self) -> String {
        self.0.iter().map(|class| &*class.name).collect::<Vec<_>>().join(", ")
    }

    /// The class that a model's settings name, `default` where they name none.
    pub fn of_model(&self, model: &str, class: Option<&str>) -> Result<ClassId, ClassError> {
        let Some(name) = class else { return Ok(ClassId::DEFAULT) };
        self.find(name.as_bytes()).map(|class| class.id).ok_or_else(|| ClassError::Unknown {
            model: model.to_owned(),
            name: name.to_owned(),
            known: self.known(),
        })
    }
}

impl Default for Classes {
    fn default() -> Classes {
        Classes([SloClass::new(DEFAULT, 1)].into())
    }
}

fn check(class: &SloClass) -> Result<(), ClassError> {
    let name = || class.name.to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(1..=NAME_CHARS_MAX).contains(&class.name.len()) || !class.name.bytes().all(plain) {
        return Err(ClassError::Name { name: name() });
    }
    if !(1..=WEIGHT_MAX).contains(&class.weight) {
        return Err(ClassError::Weight { name: name(), weight: class.weight });
    }
    match (class.slo, class.priority) {
        (Some(Duration::ZERO), _) => Err(ClassError::SloZero { name: name() }),
        (_, Some(0)) => Err(ClassError::PriorityZero { name: name() }),
        _ => Ok(()),
    }
}

fn check_priorities(classes: &[SloClass]) -> Result<(), ClassError> {
    for (index, class) in classes.iter().enumerate() {
        let Some(priority) = class.priority else { continue };
        if classes[..index].iter().any(|other| other.priority == Some(priority)) {
            return Err(ClassError::PriorityTwice { name: class.name.to_string(), priority });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Result<Classes, ClassError> {
        Classes::new(names.iter().map(|name| SloClass::new(name, 3)).collect())
    }

    #[test]
    fn default_is_always_there_first_and_may_be_redefined() {
        let classes = named(&["bulk", "gold"]).unwrap();
        let names: Vec<_> = classes.iter().map(|class| (class.id.0, &*class.name)).collect();
        assert_eq!(names, [(0, "default"), (1, "bulk"), (2, "gold")]);
        assert_eq!(classes.get(ClassId::DEFAULT).weight, 1);
        let redefined = named(&["bulk", "default"]).unwrap();
        assert_eq!(redefined.iter().count(), 2);
        assert_eq!(redefined.get(ClassId::DEFAULT).weight, 3);
    }

    #[test]
    fn a_class_is_found_by_its_whole_name_only() {
        let classes = named(&["gold"]).unwrap();
        assert_eq!(classes.find(b"gold").map(|class| class.id), Some(ClassId(1)));
        for other in ["Gold", "gol", "golden", ""] {
            assert_eq!(classes.find(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_can_not_be_a_class_is_refused_with_a_sentence() {
        let says = |given: Vec<SloClass>| Classes::new(given).unwrap_err().to_string();
        assert!(named(&["no spaces"]).unwrap_err().to_string().contains("'no spaces'"));
        assert!(says(vec![SloClass::new("", 1)]).contains("no name"));
        assert!(says(vec![SloClass::new("gold", 0)]).contains("1 to 1000"));
        assert!(says(vec![SloClass::new("gold", 1001)]).contains("1001"));
        let zero = SloClass { slo: Some(Duration::ZERO), ..SloClass::new("gold", 1) };
        assert!(says(vec![zero]).contains("zero"));
    }

    #[test]
    fn there_are_at_most_sixteen_with_the_default() {
        let many: Vec<_> =
            (1..=CLASSES_MAX).map(|nth| SloClass::new(&format!("c{nth}"), 1)).collect();
        assert!(Classes::new(many[1..].to_vec()).is_ok());
        assert_eq!(Classes::new(many), Err(ClassError::TooMany { count: CLASSES_MAX + 1 }));
    }

    #[test]
    fn a_priority_is_that_of_one_class() {
        let with = |name, priority| SloClass { priority: Some(priority), ..SloClass::new(name, 1) };
        let classes = Classes::new(vec![with("gold", 1), with("bulk", 9)]).unwrap();
        let named = |priority| classes.of_priority(priority).map(|class| &*class.name);
        assert_eq!([1, 9, 2].map(named), [Some("gold"), Some("bulk"), None]);
        let twice = Classes::new(vec![with("gold", 1), with("bulk", 1)]).unwrap_err();
        assert!(twice.to_string().contains("classes.bulk"), "{twice}");
        let zero = Classes::new(vec![with("gold", 0)]).unwrap_err();
        assert!(zero.to_string().contains("1 (the highest)"), "{zero}");
    }

    #[test]
    fn a_models_class_must_be_known() {
        let classes = named(&["gold"]).unwrap();
        assert_eq!(classes.of_model("m", None), Ok(ClassId::DEFAULT));
        assert_eq!(classes.of_model("m", Some("gold")), Ok(ClassId(1)));
        let error = classes.of_model("m", Some("silver")).unwrap_err().to_string();
        assert!(error.contains("'silver'") && error.contains("default, gold"), "{error}");
    }
}
