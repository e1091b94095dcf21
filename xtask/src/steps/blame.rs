//! What probably went wrong, from what a program said last, and what to do about it.

pub(super) struct Blame {
    pub(super) cause: &'static str,
    pub(super) fix: &'static str,
}

/// Words in a failed program's last lines, and what they mean. The first that is found counts: special ones stand first.
const BLAMES: [(&[&str], Blame); 10] = [
    (
        &["No space left on device"],
        Blame {
            cause: "the disk is full",
            fix: "make room (docker system df, docker image prune), then run this again",
        },
    ),
    (
        &[
            "permission denied while trying to connect",
            "dial unix /var/run/docker.sock: connect: permission",
        ],
        Blame {
            cause: "this user may not talk to Docker",
            fix: "run it as root or add the user to the group docker",
        },
    ),
    (
        &["Cannot connect to the Docker daemon", "Is the docker daemon running"],
        Blame {
            cause: "Docker's daemon has stopped",
            fix: "start it (systemctl start docker, or dockerd as root) and read its log",
        },
    ),
    (
        &["pull access denied", "manifest unknown", "manifest for", "repository does not exist"],
        Blame {
            cause: "there is no such image, or its registry wants a login",
            fix: "check the name after --base, or leave --base away: the base is made by debootstrap then",
        },
    ),
    (
        &["GLIBC_", "GLIBCXX_"],
        Blame {
            cause: "the base's C library is older than that of this machine, where hydrofoil was built",
            fix: "name a newer base, or build on a machine as old as the base",
        },
    ),
    (
        &["No matching distribution found", "Could not find a version that satisfies"],
        Blame {
            cause: "the package index has no wheel of this package for the base's Python",
            fix: "name a base with another Python (--base python:3.11-slim), or set PIP_INDEX_URL to an index that has it",
        },
    ),
    (
        &["\"python3\": executable file not found", "python3: not found"],
        Blame {
            cause: "the base has no python3",
            fix: "name a base with Python 3.11 or newer, such as python:3.11-slim",
        },
    ),
    (
        &[
            "no such host",
            "Name or service not known",
            "name resolution",
            "i/o timeout",
            "Could not connect",
            "Connection refused",
            "connection refused",
            "Network is unreachable",
            "Couldn't download",
            "Failed getting release file",
        ],
        Blame {
            cause: "the network, or the server that was asked, does not answer",
            fix: "check the network and the proxy's settings (http_proxy, https_proxy, PIP_INDEX_URL), then run this again",
        },
    ),
    (
        &["Operation not permitted", "mknod", "Unable to execute target architecture"],
        Blame {
            cause: "this machine does not let us make a root file system",
            fix: "name a base that Docker can pull: --base python:3.11-slim",
        },
    ),
    (
        &["Killed", "signal: 9", "exit code: 137", "returned a non-zero code: 137"],
        Blame {
            cause: "it was killed, most likely for want of memory",
            fix: "give the machine more memory or end something else, then run this again",
        },
    ),
];

const NOT_KNOWN: Blame = Blame {
    cause: "what its last lines say",
    fix: "mend that, then run this again: what is finished is not made twice",
};

pub(super) fn blame(lines: &[&str]) -> &'static Blame {
    let said = |word: &&str| lines.iter().any(|line| line.contains(*word));
    let found = BLAMES.iter().find(|(words, _)| words.iter().any(said));
    found.map_or(&NOT_KNOWN, |(_, blame)| blame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_failures_are_explained() {
        let cases = [
            (
                "Error response from daemon: pull access denied for nosuch/image, repository does not exist or may require 'docker login'",
                "no such image",
            ),
            (
                "Error response from daemon: Get \"https://registry.example/v2/\": dial tcp: lookup registry.example: no such host",
                "does not answer",
            ),
            (
                "ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found",
                "C library is older",
            ),
            ("ERROR: No matching distribution found for onnxruntime", "no wheel"),
            (
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
                "has stopped",
            ),
            ("/bin/sh: 1: python3: not found", "no python3"),
            ("something else", "what its last lines say"),
        ];
        for (line, cause) in cases {
            let found = blame(&["before", line, "after"]).cause;
            assert!(found.contains(cause), "{line}: {found}");
        }
    }
}
