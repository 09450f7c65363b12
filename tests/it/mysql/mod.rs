//! The source `mysql` against real servers of both families: what is backed up, what comes back, and how it fails.

/// A test for each family of a function that takes one.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use testkit::{MyFlavour, skip_unless};

            #[test]
            fn on_mysql() {
                skip_unless!(MyFlavour::Mysql97.tool());
                super::$name(MyFlavour::Mysql97);
            }

            #[test]
            fn on_mariadb() {
                skip_unless!(MyFlavour::Mariadb1011.tool());
                super::$name(MyFlavour::Mariadb1011);
            }
        })+
    };
}

mod consistency;
mod discovery;
mod events;
mod exact;
mod failures;
mod globals;
mod loading;
mod omitted;
mod parallel;
mod privileges;
mod properties;
mod restore;
mod round_trip;
mod secrets;
mod stderr;
mod tls;
mod together;
mod versioned;
mod versions;
