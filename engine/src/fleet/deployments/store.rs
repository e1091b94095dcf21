//! The durable half of what is wanted: an SQLite database in the state directory, on a thread of its own.
//!
//! A model is written whole, in one transaction: either all of a change is there after a crash, or nothing of it. With
//! `synchronous=FULL` a commit that has returned outlives the machine's power.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use tokio::sync::{mpsc, oneshot};

use super::wanted::{Failure, ModelRow, Replicas, Role, VersionRow};

/// Of the tables; another number is another engine's.
const SCHEMA: i64 = 1;

/// Changes that wait to be written; whoever brings another waits for room.
const JOBS_MAX: usize = 64;

/// Another program may look into the database now and then; it is not to hold up a change for longer.
const BUSY_WAIT: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE models (
        name TEXT PRIMARY KEY, active INTEGER, previous INTEGER, replicas_min INTEGER, replicas_max INTEGER,
        slo TEXT, keep_warm_ms INTEGER, last_version INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE versions (
        name TEXT NOT NULL REFERENCES models ON DELETE CASCADE, version INTEGER NOT NULL, role TEXT NOT NULL,
        digest TEXT NOT NULL, bytes INTEGER NOT NULL, deployed_ms INTEGER NOT NULL, warm_until_ms INTEGER, why TEXT,
        PRIMARY KEY (name, version)
    ) STRICT, WITHOUT ROWID;
";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path} can't be made or opened: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}; move the file away to start with no deployments")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error(
        "{path} was written by another version of foil (schema {found}, this one reads {SCHEMA}); use that version, or \
         another --state"
    )]
    Schema { path: PathBuf, found: i64 },
    #[error("{path} holds the role '{role}', which this version of foil does not know")]
    Role { path: PathBuf, role: String },
    #[error("the change could not be written: {0}; is the disk full?")]
    Write(rusqlite::Error),
    #[error("the thread that writes deployments has ended; restart foil")]
    Gone,
}

/// All that is wanted, by the models' names.
pub type Desired = BTreeMap<String, ModelRow>;

type Job = Box<dyn FnOnce(&mut Database) + Send>;

/// The way to the thread that writes.
#[derive(Clone)]
pub struct Store(mpsc::Sender<Job>);

impl Store {
    /// Opens the database, or makes it, and reads all of it. Blocks: called before anything is served.
    pub fn open(path: &Path) -> Result<(Store, Desired), StoreError> {
        let mut database = Database::open(path)?;
        let desired = database.read()?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        let thread = std::thread::Builder::new().name("foil-store".into());
        let run = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&mut database);
            }
        };
        thread.spawn(run).map_err(|_| StoreError::Gone)?;
        Ok((Store(jobs), desired))
    }

    /// Durable once it returns. None: the model is no longer there.
    pub async fn put(&self, name: &str, row: Option<ModelRow>) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        let name = name.to_owned();
        let job: Job = Box::new(move |database| {
            // Whoever gave it may have gone.
            let _gone = done.send(database.put(&name, row.as_ref()).map_err(StoreError::Write));
        });
        self.0.send(job).await.map_err(|_| StoreError::Gone)?;
        wait.await.map_err(|_| StoreError::Gone)?
    }
}

struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    fn open(path: &Path) -> Result<Database, StoreError> {
        let wrong = |source| StoreError::Open { path: path.to_owned(), source };
        make_private(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let connection = Connection::open(path).map_err(wrong)?;
        connection.busy_timeout(BUSY_WAIT).map_err(wrong)?;
        // It answers with the mode it has now.
        let _mode: String = connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(wrong)?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .map_err(wrong)?;
        let found: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(wrong)?;
        match found {
            SCHEMA => {}
            0 => connection
                .execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;"))
                .map_err(wrong)?,
            found => return Err(StoreError::Schema { path: path.to_owned(), found }),
        }
        Ok(Database { connection, path: path.to_owned() })
    }

    fn read(&mut self) -> Result<Desired, StoreError> {
        let wrong = |source| StoreError::Open { path: self.path.clone(), source };
        let mut desired = self.read_models().map_err(wrong)?;
        for (name, version, role, row) in self.read_versions().map_err(wrong)? {
            let unknown = || StoreError::Role { path: self.path.clone(), role: role.clone() };
            let role = Role::named(&role).ok_or_else(unknown)?;
            if let Some(model) = desired.get_mut(&name) {
                model.versions.insert(version, VersionRow { role, ..row });
            }
        }
        Ok(desired)
    }

    fn read_models(&self) -> rusqlite::Result<Desired> {
        let mut query = self.connection.prepare(
            "SELECT name, active, previous, replicas_min, replicas_max, slo, keep_warm_ms, last_version FROM models",
        )?;
        let models = query.query_map([], |row| {
            let bounds = (row.get::<_, Option<u32>>(3)?, row.get::<_, Option<u32>>(4)?);
            let replicas = match bounds {
                (Some(min), Some(max)) => Some(Replicas { min, max }),
                _ => None,
            };
            let model = ModelRow {
                active: row.get(1)?,
                previous: row.get(2)?,
                replicas,
                slo: row.get(5)?,
                keep_warm_ms: row.get(6)?,
                last_version: row.get(7)?,
                versions: BTreeMap::new(),
            };
            Ok((row.get(0)?, model))
        })?;
        models.collect()
    }

    fn read_versions(&self) -> rusqlite::Result<Vec<(String, u64, String, VersionRow)>> {
        let mut query = self.connection.prepare(
            "SELECT name, version, role, digest, bytes, deployed_ms, warm_until_ms, why FROM versions",
        )?;
        let versions = query.query_map([], |row| {
            let why: Option<String> = row.get(7)?;
            let version = VersionRow {
                role: Role::Stopped,
                digest: row.get(3)?,
                bytes: row.get(4)?,
                deployed_ms: row.get(5)?,
                warm_until_ms: row.get(6)?,
                why: why.map(|text| read_failure(&text)),
            };
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, version))
        })?;
        versions.collect()
    }

    fn put(&mut self, name: &str, row: Option<&ModelRow>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        match row {
            None => drop(transaction.execute("DELETE FROM models WHERE name = ?1", [name])?),
            Some(row) => write(&transaction, name, row)?,
        }
        transaction.commit()
    }
}

/// Before SQLite makes it for all to read; what lies beside it gets the same permissions.
fn make_private(path: &Path) -> io::Result<()> {
    let options =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    options.map(drop)
}

/// The why of an older engine may be a bare sentence.
fn read_failure(text: &str) -> Failure {
    let bare = || Failure { error: text.to_owned(), ..Failure::default() };
    serde_json::from_str(text).unwrap_or_else(|_| bare())
}

fn write(transaction: &Transaction<'_>, name: &str, model: &ModelRow) -> rusqlite::Result<()> {
    let ModelRow { active, previous, replicas, slo, keep_warm_ms, last_version, versions } = model;
    let (min, max) = (replicas.map(|it| it.min), replicas.map(|it| it.max));
    transaction.execute(
        "INSERT INTO models VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (name) DO UPDATE SET
         active = ?2, previous = ?3, replicas_min = ?4, replicas_max = ?5, slo = ?6, keep_warm_ms = ?7,
         last_version = ?8",
        params![name, active, previous, min, max, slo, keep_warm_ms, last_version],
    )?;
    transaction.execute("DELETE FROM versions WHERE name = ?1", [name])?;
    let mut insert = transaction
        .prepare_cached("INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (version, row) in versions {
        let VersionRow { role, digest, bytes, deployed_ms, warm_until_ms, why } = row;
        let why = why.as_ref().map(|why| serde_json::json!(why).to_string());
        let role = role.name();
        insert.execute(params![
            name,
            version,
            role,
            digest,
            bytes,
            deployed_ms,
            warm_until_ms,
            why
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::deployments::wanted::{Artifact, Options};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path =
                std::env::temp_dir().join(format!("foil-store-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        fn open(&self) -> Result<Database, StoreError> {
            Database::open(&self.0.join("fleet.db"))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _left = std::fs::remove_dir_all(&self.0);
        }
    }

    fn model() -> ModelRow {
        let replicas = Some(Replicas { min: 1, max: 4 });
        let options = Options { replicas, slo: Some("5ms".into()), ..Options::default() };
        let artifact = || Artifact { digest: "abc".into(), bytes: 12 };
        let mut row = ModelRow::default();
        row.deploy(artifact(), &options, 0, 1).unwrap();
        row.activate(1, 2).unwrap();
        row.deploy(artifact(), &options, 0, 3).unwrap();
        row.activate(2, 4).unwrap();
        row.deploy(artifact(), &options, 0, 5).unwrap();
        let why = Failure { error: "no".into(), cause: Some("c".into()), ..Failure::default() };
        row.fail(3, why).unwrap();
        row
    }

    #[test]
    fn what_was_put_is_there_when_it_is_opened_again() {
        let scratch = Scratch::new("again");
        scratch.open().unwrap().put("digits", Some(&model())).unwrap();
        let mut database = scratch.open().unwrap();
        assert_eq!(database.read().unwrap()["digits"], model());
        let mut smaller = model();
        smaller.remove(1).unwrap();
        database.put("digits", Some(&smaller)).unwrap();
        assert_eq!(scratch.open().unwrap().read().unwrap()["digits"], smaller);
    }

    #[test]
    fn a_model_that_is_gone_leaves_nothing() {
        let scratch = Scratch::new("gone");
        let mut database = scratch.open().unwrap();
        database.put("digits", Some(&model())).unwrap();
        database.put("other", Some(&model())).unwrap();
        database.put("digits", None).unwrap();
        let holds = |name: &str| {
            let sql = "SELECT 1 FROM versions WHERE name = ?1";
            database.connection.prepare(sql).unwrap().exists([name]).unwrap()
        };
        assert!(!holds("digits") && holds("other"));
        assert_eq!(database.read().unwrap().len(), 1);
    }

    #[test]
    fn another_engines_tables_are_left_alone() {
        let scratch = Scratch::new("schema");
        let database = scratch.open().unwrap();
        database.connection.execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(matches!(scratch.open(), Err(StoreError::Schema { found: 99, .. })));
    }

    #[test]
    fn what_is_no_database_is_said_to_be_none() {
        let scratch = Scratch::new("noise");
        std::fs::write(scratch.0.join("fleet.db"), vec![b'x'; 4096]).unwrap();
        let error = scratch.open().err().expect("refused").to_string();
        assert!(error.contains("fleet.db") && error.contains("move the file away"), "{error}");
    }
}
