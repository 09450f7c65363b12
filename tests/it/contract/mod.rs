//! The guarantees of every kind of source, tested on a real server of each kind.

mod databases;
mod documents;
mod failures;
mod round_trip;
mod secrets;
mod subject;
mod told;

/// Makes a test for each kind from a function that takes a subject.
macro_rules! on_each_kind {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use testkit::{MyFlavour, PgVersion, Tool, skip_unless};
            use crate::contract::{databases, documents};

            #[test]
            fn of_postgres() {
                skip_unless!(PgVersion::V15.tool());
                super::$name(&databases::Postgres::start());
            }

            #[test]
            fn of_mysql() {
                skip_unless!(MyFlavour::Mysql97.tool());
                super::$name(&databases::Mysql::start(MyFlavour::Mysql97));
            }

            #[test]
            fn of_mariadb() {
                skip_unless!(MyFlavour::Mariadb1011.tool());
                super::$name(&databases::Mysql::start(MyFlavour::Mariadb1011));
            }

            #[test]
            fn of_mongodb() {
                skip_unless!(Tool::Mongo);
                super::$name(&documents::Mongodb::start());
            }
        })+
    };
}
pub(crate) use on_each_kind;
