# Recipes for https://just.systems; each is one line that works without it as well.

set positional-arguments

# List the recipes.
default:
    @just --list

# Formatting and the library's own tests: within two minutes once dependencies are built.
quick:
    scripts/test --quick

# Every test, with lints, licences, documents and workflows. Installs missing tools.
test *arguments:
    scripts/test "$@"

# The integration tests of one topic, a directory of tests/it: `just topic postgres`.
topic name:
    scripts/test -E 'kind(test) & test(/^{{name}}::/)'

# Formatting, lints, licences, links of the documents, workflows.
lint:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo deny --log-level error check
    scripts/check-docs
    scripts/check-workflows

# The demo: all features on throwaway servers.
demo *arguments:
    scripts/demo "$@"

# Measurements in comparison with stock tools: `just bench --only dump`.
bench *arguments:
    scripts/bench "$@"

# The package for Debian.
package:
    scripts/package

# Writes the generated documents and pictures again.
docs:
    cargo run --quiet -- --config docs/example-config.toml runbook --offline --output docs/recovery-runbook.md
    nix --extra-experimental-features nix-command eval --raw --file nix/docs/options.nix page > docs/nixos-options.md
    scripts/screenshots
