#!/usr/bin/env bash
# Sets up a compiler for workflow guests (target wasm32-wasip2) and writes DIR/bin/guest-cargo,
# a cargo that can be called from anywhere, also from inside `cargo test`.
#
#   usage: scripts/setup-guest-toolchain.sh [DIR]
#   then:  DIR/bin/guest-cargo build --target wasm32-wasip2      gives a component
#
# Two ways lead there:
#   rustup   `rustup target add wasm32-wasip2`, given up after RUSTUP_WAIT seconds (60).
#   debian   rustc-web and its standard library's sources, unpacked below DIR and compiled there
#            once. Nothing is installed on the system: no root is needed, and a rustc or rustup
#            package, with which rustc-web conflicts, stays as it is.
# GUEST_TOOLCHAIN=auto (the default: rustup, else debian), rustup or debian.
# GUEST_TARGET_DIR, when set, is where guest-cargo builds.
set -Eeuo pipefail

readonly TARGET=wasm32-wasip2
readonly MODE=${GUEST_TOOLCHAIN:-auto}
readonly RUSTUP_WAIT=${RUSTUP_WAIT:-60}
readonly DIR=${1:-${GUEST_TOOLCHAIN_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/everstep/guest-toolchain}}
readonly DEB=$DIR/debian
readonly HOST=$(uname -m)-unknown-linux-gnu
readonly LIBRARIES=$DEB/usr/lib/$(uname -m)-linux-gnu
readonly RUSTLIB=$DEB/usr/lib/rustlib
# The guests' crates declare this compiler version, so an older one would be refused later anyway.
MIN_RUST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml")
readonly MIN_RUST
# Raise FORMAT when the layout below DIR changes, so that older set-ups are made anew.
readonly FORMAT=1
readonly STAMP="debian $FORMAT $TARGET $MIN_RUST"

# What an outer cargo, rustup or make leaves in the environment, all of it wrong for a guest.
OUTER=(
  CARGO RUSTC RUSTDOC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTC_BOOTSTRAP RUSTUP_TOOLCHAIN
  RUSTFLAGS RUSTDOCFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_ENCODED_RUSTDOCFLAGS
  CARGO_BUILD_TARGET CARGO_BUILD_RUSTC CARGO_BUILD_RUSTFLAGS CARGO_BUILD_RUSTC_WRAPPER
  CARGO_BUILD_TARGET_DIR CARGO_TARGET_DIR CARGO_MAKEFLAGS MAKEFLAGS MFLAGS LD_LIBRARY_PATH
)
unset "${OUTER[@]}"

say() { echo "guest toolchain: $*" >&2; }

# The first line says what went wrong, the others what to type.
fail() {
  say "error: $1"
  shift
  printf '  %s\n' "$@" >&2
  exit 1
}

trap 'say "error: line $LINENO of setup-guest-toolchain.sh failed"' ERR

# Runs a command for at most $1 seconds, where the system has a `timeout` (macOS has none).
bounded() {
  local seconds=$1
  shift
  if command -v timeout >/dev/null; then
    timeout -k 5 "$seconds" "$@" </dev/null 9>&-
  else
    "$@" </dev/null 9>&-
  fi
}

# $1: shell lines that choose the compiler; $2: the cargo to run. Written only when it differs,
# so that a second set-up leaves every file as it is.
write_guest_cargo() {
  local file=$DIR/bin/guest-cargo
  cat >"$file.new" <<WRAPPER
#!/bin/sh
# Written by setup-guest-toolchain.sh: cargo for guests, with the outer cargo's settings forgotten.
unset ${OUTER[*]}
[ -z "\${GUEST_TARGET_DIR:-}" ] || export CARGO_TARGET_DIR="\$GUEST_TARGET_DIR"
$1
exec $2 "\$@"
WRAPPER
  chmod +x "$file.new"
  if cmp -s "$file.new" "$file"; then rm "$file.new"; else mv "$file.new" "$file"; fi
}

# ---- rustup, or any rustc that has the target --------------------------------------------

plain_cargo_has_target() {
  local libdir
  command -v cargo >/dev/null && libdir=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) &&
    compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

use_plain_cargo() {
  write_guest_cargo "" cargo
  say "ready: $(rustc -V) with $TARGET; $DIR/bin/guest-cargo"
}

add_target_with_rustup() {
  say "adding $TARGET with rustup (for at most $RUSTUP_WAIT s)"
  RUSTUP_MAX_RETRIES=0 bounded "$RUSTUP_WAIT" rustup target add "$TARGET" >&2 && plain_cargo_has_target
}

# ---- Debian ------------------------------------------------------------------------------

debian_is_ready() {
  [ "$(cat "$DIR/stamp" 2>/dev/null)" = "$STAMP" ] &&
    LD_LIBRARY_PATH=$LIBRARIES "$DEB/usr/bin/rustc" -V >/dev/null 2>&1
}

use_debian() {
  write_guest_cargo "export LD_LIBRARY_PATH='$LIBRARIES'
export RUSTC='$DEB/usr/bin/rustc' RUSTDOC='$DEB/usr/bin/rustdoc'" "'$DEB/usr/bin/cargo'"
  say "ready: $(LD_LIBRARY_PATH=$LIBRARIES "$DEB/usr/bin/rustc" -V) with $TARGET; $DIR/bin/guest-cargo"
}

# Succeeds when apt knows a rustc-web that is new enough, together with its linker.
apt_offers_compiler() {
  local version
  version=$(LC_ALL=C apt-cache policy rustc-web 2>/dev/null | sed -n 's/^ *Candidate: //p')
  [ -n "$version" ] && [ "$version" != "(none)" ] && dpkg --compare-versions "$version" ge "$MIN_RUST"
}

refresh_apt() {
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo -n)
  say "refreshing apt's package lists"
  "${root[@]}" apt-get update -q </dev/null >&2 9>&- || fail \
    "apt's package lists have no rustc-web $MIN_RUST or newer, and they could not be refreshed" \
    "Type: sudo apt-get update" "and run this again."
}

# Prints the packages to unpack: the five we use, and whatever they need that is not installed.
packages() {
  local lld
  lld=$(apt-cache pkgnames lld- | grep -E '^lld-[0-9]+$' | sort -V | tail -n 1)
  LC_ALL=C apt-get install -s --reinstall --no-install-recommends \
    rustc-web libstd-rust-web-dev cargo-web rust-web-src wasi-libc "$lld" | awk '/^Inst /{print $2}'
}

unpack_packages() {
  local list
  list=$(packages) && [ -n "$list" ] || fail \
    "apt-get finds no way to install rustc-web, rust-web-src, wasi-libc and lld" \
    "Type: apt-get install -s rustc-web cargo-web rust-web-src wasi-libc" "to see why."
  say "unpacking Debian's packages:" $list
  mkdir -p "$DEB/packages"
  # shellcheck disable=SC2086  # a list of package names
  (cd "$DEB/packages" && apt-get download -q $list </dev/null >&2 9>&-) || fail \
    "apt-get could not download the packages" \
    "Check the network and the lists in /etc/apt, or type: sudo apt-get update" "and run this again."
  for package in "$DEB"/packages/*.deb; do
    dpkg -x "$package" "$DEB"
  done
  rm -r "$DEB/packages"
}

# The linker of wasip2 wraps lld and emits a component. rustup ships it; else it is compiled.
install_linkers() {
  local bin=$RUSTLIB/$HOST/bin shipped
  mkdir -p "$bin"
  ln -sf "$(ls "$DEB"/usr/lib/llvm-*/bin/lld)" "$bin/rust-lld"
  shipped=$(rustc --print sysroot 2>/dev/null || true)/lib/rustlib/$HOST/bin/wasm-component-ld
  if [ -x "$shipped" ]; then
    cp "$shipped" "$bin/"
  else
    say "compiling wasm-component-ld"
    debian_cargo install -q --locked --root "$RUSTLIB/$HOST" wasm-component-ld --version ^0.5 >&2 || fail \
      "wasm-component-ld did not compile (its sources come from crates.io)" \
      "Check the network and the C compiler, and run this again."
  fi
}

debian_cargo() {
  LD_LIBRARY_PATH=$LIBRARIES RUSTC=$DEB/usr/bin/rustc "$DEB/usr/bin/cargo" "$@" </dev/null 9>&-
}

# An empty crate is built with -Z build-std; the libraries that this leaves are the target's std.
build_std() {
  local crate=$DEB/std-build libdir=$RUSTLIB/$TARGET/lib
  mkdir -p "$crate/src" "$libdir/self-contained"
  : >"$crate/src/lib.rs"
  printf '[package]\nname = "std-build"\nedition = "2021"\n[workspace]\n' >"$crate/Cargo.toml"
  (cd "$crate" && RUSTC_BOOTSTRAP=1 debian_cargo build --release -Z build-std=std,panic_abort --target "$TARGET" >&2) ||
    fail "the standard library for $TARGET did not compile (see above)" \
      "Its sources may need crates.io: check the network, and run this again."
  find "$crate/target/$TARGET/release/deps" -name '*.rlib' ! -name 'libstd_build-*' -exec cp {} "$libdir/" \;
  cp "$DEB"/usr/lib/wasm32-wasi/{crt1-command.o,crt1-reactor.o,libc.a} "$libdir/self-contained/"
  rm -r "$crate"
}

set_up_debian() {
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail \
    "no compiler for $TARGET, and no apt-get to fetch one with" \
    "Install rustup (https://rustup.rs), then type: rustup target add $TARGET"
  apt_offers_compiler || refresh_apt
  apt_offers_compiler || fail \
    "this system's packages have no rustc-web $MIN_RUST or newer" \
    "Install rustup (https://rustup.rs), then type: rustup target add $TARGET"
  rm -rf "$DIR/stamp" "$DEB"
  unpack_packages
  install_linkers
  build_std
  # The compiler's sources and documentation are half of what was unpacked, and not needed again.
  rm -rf "$DEB/usr/src" "$DEB/usr/share" "$RUSTLIB/src"
  echo "$STAMP" >"$DIR/stamp"
}

# ---- the choice --------------------------------------------------------------------------

main() {
  case $MODE in auto | rustup | debian) ;; *)
    fail "GUEST_TOOLCHAIN=$MODE is not known" "Set it to auto, rustup or debian." ;;
  esac
  mkdir -p "$DIR/bin"
  # Two set-ups at once: the second waits for the first and then finds nothing to do.
  exec 9>"$DIR/.lock"
  if command -v flock >/dev/null && ! flock -n 9; then
    say "another set-up of $DIR is running; waiting for it"
    flock 9
  fi

  if [ "$MODE" != debian ] && plain_cargo_has_target; then use_plain_cargo; return; fi
  if [ "$MODE" != rustup ] && debian_is_ready; then use_debian; return; fi
  if [ "$MODE" != debian ] && command -v rustup >/dev/null; then
    if add_target_with_rustup; then use_plain_cargo; return; fi
    [ "$MODE" = auto ] || fail "rustup could not add $TARGET" \
      "Type: rustup target add $TARGET" "to see why, or set GUEST_TOOLCHAIN=debian."
    say "rustup cannot add $TARGET here; trying Debian's packages"
  fi
  [ "$MODE" != rustup ] || fail "GUEST_TOOLCHAIN=rustup, but there is no rustup on PATH" \
    "Install it (https://rustup.rs), then type: rustup target add $TARGET"
  set_up_debian
  use_debian
}

main
