# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by every script here: messages, packages, the build folder.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$(realpath -m "${BUILD:-$ROOT/build}")
JOBS=${JOBS:-$(nproc)}
# The kernel that the series is for
# shellcheck disable=SC2034
SERIES_VERSION=7.2
PROG=${0##*/}

# Progress goes to stderr: stdout is for results
say()
{
	printf '[%4ds] %s\n' "$SECONDS" "$*" >&2
}

die()
{
	printf '%s: %s\n' "$PROG" "$*" >&2
	exit 1
}

[[ $JOBS =~ ^[1-9][0-9]{0,3}$ ]] || die "JOBS takes a number of compilers, 1 to 9999, not '$JOBS'"

# die_log LOG MESSAGE...: as die, with the end of a log before it
die_log()
{
	local log=$1

	shift
	tail -n 25 "$log" >&2
	die "$* (all of it: $log)"
}

# stopped: for traps of signals; what is to be done in the end is in the trap of EXIT
stopped()
{
	printf '%s: stopped\n' "$PROG" >&2
	exit 130
}

# usage_or_die ARG: a script's answer to a word that it does not know
usage_or_die()
{
	die "unknown argument '$1'; see scripts/$PROG --help"
}

# print_help: the comment block below the SPDX line of the calling script
print_help()
{
	awk 'NR > 2 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# need_arg OPTION [VALUE]: an option's value is there
need_arg()
{
	[[ -n ${2-} ]] || die "$1 takes a value; see scripts/$PROG --help"
}

# need_regexp OPTION TEXT: the option's value is an extended regular expression
need_regexp()
{
	local status=0

	# shellcheck disable=SC2319 # 2 is of a regexp that is none
	[[ '' =~ $2 ]] || status=$?
	((status < 2)) || die "$1 takes an extended regular expression, not '$2'"
}

# need_place PATH: a file or folder can be made there, with the folders that it is in
need_place()
{
	local dir

	dir=$(dirname "$1")
	until [[ -e $dir ]]; do
		dir=$(dirname "$dir")
	done
	[[ -d $dir && -w $dir ]] || die "$1 can't be made: $dir is no folder to write to; name another place"
}

# need PACKAGE...: Debian packages are installed, or get installed
need()
{
	local missing=() p

	command -v dpkg-query >/dev/null ||
		die "this needs a Debian system; it installs: $*"
	for p; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] ||
			missing+=("$p")
	done
	((${#missing[@]})) || return 0
	if ((EUID)); then
		die "as root, first: apt-get install --no-install-recommends ${missing[*]}"
	fi

	say "installing packages: ${missing[*]}"
	mkdir -p "$BUILD"
	{
		apt-get update -q
		DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=600 \
			--no-install-recommends "${missing[@]}"
	} >"$BUILD/packages.log" 2>&1 </dev/null ||
		die_log "$BUILD/packages.log" "packages were not installed"
}

# need_git: any git will do, the distribution's or another
need_git()
{
	command -v git >/dev/null || need git
}

# What it takes to fetch, build and boot a kernel, but for an emulator
KERNEL_PACKAGES=(gcc make flex bison bc libelf-dev libc6-dev cpio xz-utils kmod perl
	python3 git rsync ccache busybox-static debian-archive-keyring)

need_kernel_build()
{
	need "${KERNEL_PACKAGES[@]}"
	export PATH=/usr/lib/ccache:$PATH
	# Objects of one clone serve another
	export CCACHE_BASEDIR=$BUILD CCACHE_NOHASHDIR=1
	# Not CCACHE_DEPEND: it does not see what a file includes by .incbin, as the
	# compressed kernel of x86, and gives an older kernel of the same size. Nothing
	# that was cached in that way is to be found.
	export CCACHE_NAMESPACE=zsmalloc
}

# take_lock: one script at a time in a build folder, with those that it calls
take_lock()
{
	[[ ${BUILD_LOCKED-} != "$BUILD" ]] || return 0
	if ! mkdir -p "$BUILD" 2>/dev/null || [[ ! -w $BUILD || (-e $BUILD/.lock && ! -w $BUILD/.lock) ]]; then
		die "$BUILD can't be written to; run this as its owner, or set BUILD to a folder of yours"
	fi
	exec 9>"$BUILD/.lock"
	flock -w 10 9 || die "another script is using $BUILD; wait, or set BUILD to another folder"
	export BUILD_LOCKED=$BUILD
}

# key TEXT...: a short name that changes when the text does
key()
{
	printf '%s\n' "$@" | sha256sum | cut -c1-12
}

# median, min and max of the numbers on stdin, as three words
spread()
{
	sort -g | awk '{ v[NR] = $1 }
		END { if (!NR) exit 1
		      m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
		      print m, v[1], v[NR] }'
}
