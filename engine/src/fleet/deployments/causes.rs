//! What probably is the matter with a version that does not come up, and what helps: pure, from what its container said.

use super::wanted::Failure;

/// What is looked for in what a container said, what it means, and what helps. `{}` stands for the word behind it.
struct Sign {
    said: &'static str,
    cause: &'static str,
    fix: &'static str,
}

/// The first that is found counts: the particular ones stand first.
const SIGNS: [Sign; 16] = [
    Sign {
        said: "ModuleNotFoundError: No module named ",
        cause: "the Python that runs the model has no library {}",
        fix: "install {} there (pip install {}), give foil serve another Python by --python, or use an image that has it",
    },
    Sign {
        said: "cannot import name ",
        cause: "a library there has another version than the model was written for: it has no {}",
        fix: "install the version that the model was written for where it runs",
    },
    Sign {
        said: "Can't get attribute ",
        cause: "the pickle names {}, which is defined in the program that wrote it and not where the model runs",
        fix: "put the class into a file of the version, or deploy with cloudpickle (hydrofoil.connect().deploy)",
    },
    Sign {
        said: "InconsistentVersionWarning",
        cause: "the model was saved by another version of scikit-learn than runs it",
        fix: "install the same version of scikit-learn where the model runs, or save the model anew",
    },
    Sign {
        said: "numpy.dtype size changed",
        cause: "a library there was built for another version of NumPy",
        fix: "install matching versions of NumPy and the library where the model runs",
    },
    Sign {
        said: "out of memory",
        cause: "the model wants more memory than it may have, or than there is",
        fix: "raise its memory limit, use a smaller model, or free memory on this machine",
    },
    Sign {
        said: "MemoryError",
        cause: "the model wants more memory than it may have, or than there is",
        fix: "raise its memory limit, use a smaller model, or free memory on this machine",
    },
    Sign {
        said: "Cannot allocate memory",
        cause: "the model wants more memory than it may have, or than there is",
        fix: "raise its memory limit, use a smaller model, or free memory on this machine",
    },
    Sign {
        said: "exit status: 127",
        cause: "the program that was to run is not there, or what it is an interpreter's script for",
        fix: "name a program that is where the model runs: `program` in model.toml, or the entrypoint of its image",
    },
    Sign {
        said: "exit status: 126",
        cause: "the program that was to run is not executable there",
        fix: "make it executable for everybody (chmod 755), and built for this machine",
    },
    Sign {
        said: "signal: 9",
        cause: "something killed its process: most often the system, which had no memory left",
        fix: "look for 'Out of memory' in the system's log (dmesg); give the model or the machine more memory",
    },
    Sign {
        said: "FileNotFoundError",
        cause: "the model opens a file that is not among those of its version",
        fix: "put the file beside the model file and open it by ctx.path(name)",
    },
    Sign {
        said: "Permission denied",
        cause: "the user that the model runs as may not do that",
        fix: "let the model write to its home or /tmp only, and make its files readable",
    },
    Sign {
        said: "Address already in use",
        cause: "the model listens on a port that is taken; a replica must not need a port of its own",
        fix: "take the server out of the model: the engine asks it",
    },
    Sign {
        said: "SyntaxError",
        cause: "the model file is no Python that the interpreter there understands",
        fix: "correct it, or run it by the version of Python that it was written for",
    },
    Sign {
        said: "limits.load_s",
        cause: "loading takes longer than a model may",
        fix: "raise limits.load_s, or let the model load less: a download belongs into the version's files",
    },
];

/// A failure with its probable cause and what helps, where one is known.
pub(in crate::fleet) fn explained(error: String, output: String) -> Failure {
    let text = format!("{error}\n{output}");
    let sign = SIGNS.iter().find_map(|sign| Some((sign, text.split(sign.said).nth(1)?)));
    let Some((sign, behind)) = sign else {
        return Failure { error, output, cause: None, fix: None };
    };
    let word = word(behind);
    let (cause, fix) = (Some(sign.cause.replace("{}", word)), Some(sign.fix.replace("{}", word)));
    Failure { error, output, cause, fix }
}

/// Up to the end of its quotes, or of itself.
fn word(text: &str) -> &str {
    let text = text.trim_start();
    let quoted = text.strip_prefix(['\'', '"']);
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ';' | ',');
    quoted.unwrap_or(text).split(ends).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: &str, output: &str) -> (String, String) {
        let failure = explained(error.to_owned(), output.to_owned());
        (failure.cause.unwrap_or_default(), failure.fix.unwrap_or_default())
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let (cause, fix) =
            of("model.py:1: ModuleNotFoundError: No module named 'torch'\n  File …", "");
        assert!(cause.contains("no library torch"), "{cause}");
        assert!(fix.contains("pip install torch"), "{fix}");
        let (cause, _) = of("x", "ImportError: cannot import name 'fit' from 'sklearn' (…)");
        assert!(cause.contains("it has no fit"), "{cause}");
    }

    #[test]
    fn memory_shows_in_many_ways() {
        for said in [
            "MemoryError: unable to allocate",
            "CUDA out of memory",
            "its process ended with signal: 9 (SIGKILL)",
        ] {
            let (cause, fix) = of(said, "");
            assert!(cause.contains("memory") && fix.contains("memory"), "{said}: {cause}; {fix}");
        }
    }

    #[test]
    fn every_sign_is_found_by_its_own_words_and_nothing_by_others() {
        for sign in &SIGNS {
            let failure = explained("it ended".into(), format!("… {}'thing' …", sign.said));
            assert_eq!(failure.cause, Some(sign.cause.replace("{}", "thing")), "{}", sign.said);
        }
        let unknown = explained("it ended with exit status: 3".into(), "bye".into());
        assert_eq!((unknown.cause, unknown.fix), (None, None));
    }
}
