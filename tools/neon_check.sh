#!/bin/sh
# Checks the NEON tier without an ARM machine: cross-compiles the kernels for aarch64,
# runs tests/c/neon_check.c under user-mode emulation (generic against neon), then on
# the host (generic against avx2), and compares the listings, whose checksums are of
# generic's results: the same on both architectures, or it says so and fails.
#
# Needs gcc, aarch64-linux-gnu-gcc, qemu-aarch64-static. Slow, so not part of CI.
# Usage: tools/neon_check.sh [rounds]
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-300}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-O2 -ffp-contract=off -std=gnu11 -fvisibility=hidden -Icsrc
    -Wall -Wextra -Wshadow -Werror -Wno-unknown-pragmas"

build() { # compiler, tier, output, more flags
    compiler=$1 tier=$2 output=$3
    shift 3
    for isa in generic "$tier"; do
        "$compiler" $flags "$@" -c "csrc/isa/$isa.c" -o "$work/$isa.o" &
    done
    wait
    "$compiler" $flags "$@" -DCHECK_ISA="$tier" tests/c/neon_check.c "$work/generic.o" \
        "$work/$tier.o" -lm -o "$output"
}

build aarch64-linux-gnu-gcc neon "$work/arm" -static
qemu-aarch64-static "$work/arm" "$rounds" >"$work/arm.txt" || failed=1
build gcc avx2 "$work/host"
"$work/host" "$rounds" >"$work/host.txt" || failed=1
grep -h DIFFERS "$work/arm.txt" "$work/host.txt" && failed=1
if ! diff "$work/arm.txt" "$work/host.txt"; then
    echo "aarch64 and the host differ"
    failed=1
fi
exit "${failed:-0}"
