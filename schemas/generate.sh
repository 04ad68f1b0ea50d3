#!/bin/sh
# Generates protocol/src/generated/<schema>.rs from every schemas/*.fbs; the result is committed.
# Usage: schemas/generate.sh [--check]   (--check fails where what is committed differs)
# The compiler is the one of the flatc-fork crate, built on first use (needs cmake and a C++ compiler);
# set FLATC to use another binary of the same version.
set -eu
cd "$(dirname "$0")/.."
mode=${1:-write}
out=protocol/src/generated
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -n "${FLATC:-}" ]; then
    flatc() { "$FLATC" "$@"; }
else
    flatc() { cargo run --quiet --manifest-path schemas/flatc/Cargo.toml --target-dir target/flatc -- "$@"; }
fi

flatc --rust -o "$work" schemas/*.fbs
status=0
for schema in schemas/*.fbs; do
    name=$(basename "$schema" .fbs)
    generated="$work/${name}_generated.rs"
    rustfmt --edition 2024 --config-path rustfmt.toml "$generated"
    if [ "$mode" = --check ]; then
        cmp -s "$generated" "$out/$name.rs" || { echo "$out/$name.rs differs from $schema: run schemas/generate.sh"; status=1; }
    else
        mkdir -p "$out"
        cp "$generated" "$out/$name.rs"
    fi
done
exit $status
