//! The guarantees of every kind of source, tested on a real server, account or directory of each kind.

mod databases;
mod directories;
mod documents;
mod failures;
mod pieces;
mod round_trip;
mod secrets;
mod storage;
mod subject;
mod told;

/// All subjects of the suite, a line each: the name of its tests, its kind, the tools that it needs, and how it is started. The
/// list is handed to the macro `$then`, after its other input. A new kind of source needs one more line, and nothing else.
macro_rules! subjects {
    ($then:ident $($input:tt)*) => {
        $crate::contract::$then! {
            [$($input)*]
            of_postgres "postgres" [testkit::PgVersion::V15.tool()] databases::Postgres::start();
            of_mysql "mysql" [testkit::MyFlavour::Mysql97.tool()]
                databases::Mysql::start(testkit::MyFlavour::Mysql97);
            of_mariadb "mysql" [testkit::MyFlavour::Mariadb1011.tool()]
                databases::Mysql::start(testkit::MyFlavour::Mariadb1011);
            of_mongodb "mongodb" [testkit::Tool::Mongo] documents::Mongodb::start();
            of_azure_containers "azure-storage" [testkit::Tool::Azurite] storage::Containers::start();
            of_azure_shares "azure-storage" [] storage::Shares::start();
            of_directories "directory" [testkit::Tool::ResticNew] directories::Directories::start();
        }
    };
}
pub(crate) use subjects;

/// Makes a test for each subject from a function that takes one.
macro_rules! tests_of {
    ([$contract:ident] $($test:ident $kind:literal [$($tool:expr),*] $start:expr;)+) => {
        mod $contract {
            use crate::contract::{databases, directories, documents, storage, subject::Subject};

            $(#[test]
            fn $test() {
                $(if !$tool.or_skip() {
                    return;
                })*
                let subject = $start;
                assert_eq!(subject.kind(), $kind);
                super::$contract(&subject);
            })+
        }
    };
}
pub(crate) use tests_of;

/// The kinds of the subjects.
macro_rules! kinds_of {
    ([] $($test:ident $kind:literal [$($tool:expr),*] $start:expr;)+) => {
        [$($kind),+]
    };
}
pub(crate) use kinds_of;

/// Tests these functions with every subject.
macro_rules! on_each_kind {
    ($($contract:ident),+ $(,)?) => {
        $($crate::contract::subjects!(tests_of $contract);)+
    };
}
pub(crate) use on_each_kind;

#[test]
fn every_kind_has_a_subject() {
    let covered = subjects!(kinds_of);
    for kind in tik_backup::source::KINDS {
        let name = kind.name();
        assert!(covered.contains(&name), "the kind {name} has no subject: add one to `subjects`");
    }
}
