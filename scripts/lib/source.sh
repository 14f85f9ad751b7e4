# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Where kernels come from: the distribution's linux-source packages, or a tree
# that the user names. Needs common.sh.

# The suites that may have a linux-source package that the machine's own apt
# does not list. The newest version in the first suite that has one is taken.
KERNEL_SUITES=(trixie-backports sid bookworm-backports)

# apt_private ARCH: an apt of our own, with the suites above, in $BUILD/apt for
# "native", and in $BUILD/apt-ARCH for the packages of another architecture. It
# asks the mirror that the system uses, checks signatures with the system's
# keyring, and leaves the system's lists and settings alone.
apt_private()
{
	local arch=$1 apt=$BUILD/apt-$1
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	local site suite

	if [[ $arch == native ]]; then
		arch=$(dpkg --print-architecture) apt=$BUILD/apt
	fi
	need debian-archive-keyring
	mkdir -p "$apt"/{lists/partial,cache/archives/partial}
	# shellcheck disable=SC2016 # apt's own format
	site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' |
		awk '$2 !~ /security/ { print $1; exit }')
	[[ -n $site ]] || die "apt knows no Debian mirror; name a kernel tree with --source"

	for suite in "${KERNEL_SUITES[@]}"; do
		echo "deb [signed-by=$keyring] $site $suite main non-free-firmware"
	done >"$apt/sources.list"
	echo "deb-src [signed-by=$keyring] $site sid main" >>"$apt/sources.list"
	cat >"$apt/apt.conf" <<-EOF
		APT::Architecture "$arch";
		APT::Architectures { "$arch"; };
		Dir::Etc::SourceList "$apt/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		Dir::State::Lists "$apt/lists";
		Dir::Cache "$apt/cache";
		APT::Sandbox::User "";
		APT::Get::List-Cleanup "false";
	EOF
	# One suite that is out of order, as in the middle of a mirror's update, is not all
	APT_CONFIG=$apt/apt.conf apt-get update -q >"$apt/update.log" 2>&1 ||
		say "not all package lists could be fetched ($apt/update.log)"
}

# fetch_package VERSION: linux-source-VERSION as a .deb in $BUILD/apt; prints it
fetch_package()
{
	local apt=$BUILD/apt package=linux-source-$1 suite deb

	apt_private native
	cd "$apt" || exit
	for suite in "${KERNEL_SUITES[@]}"; do
		APT_CONFIG=$apt/apt.conf apt-get download -q "$package/$suite" \
			>"$apt/download.log" 2>&1 || continue
		deb=$(find "$apt" -maxdepth 1 -name "${package}_*.deb" -printf '%T@ %p\n' |
			sort -g | tail -n 1 | cut -d' ' -f2-)
		echo "$deb"
		return
	done
	die_log "$apt/download.log" "no suite has $package; name a kernel tree with --source"
}

# unpack_packages ARCH DIR PACKAGE...: what the packages have, in the folder DIR, not
# installed. ARCH as for apt_private; a package may be PACKAGE/SUITE. On error the
# folder is not there.
unpack_packages()
{
	local arch=$1 dir=$2 apt=$BUILD/apt-$1 deb

	[[ $arch != native ]] || apt=$BUILD/apt
	apt_private "$arch"
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	(
		cd "$dir.new" && APT_CONFIG=$apt/apt.conf apt-get download -q "${@:3}" || exit
		for deb in *.deb; do
			dpkg-deb -x "$deb" . || exit
		done
		rm ./*.deb
	) >"$dir.log" 2>&1 || die_log "$dir.log" "could not get ${*:3}"
	rm -rf "$dir"
	mv -T "$dir.new" "$dir"
}

# need_sparse: a sparse that the kernel accepts is first in PATH. Older releases
# of the distribution have one that is too old; then it is built from the source
# of the newest.
need_sparse()
{
	local dir=$BUILD/sparse apt=$BUILD/apt

	need sparse
	PATH=$dir:$PATH
	[[ $(sh "$KERNEL/scripts/checker-valid.sh" sparse) != 1 ]] || return 0
	say "building a newer sparse"
	need gcc make pkg-config
	apt_private native
	rm -rf "$dir" "$dir.new"
	mkdir -p "$dir.new"
	(
		cd "$apt"
		rm -f sparse_*
		APT_CONFIG=$apt/apt.conf apt-get source -q --download-only sparse
		tar -xf sparse_*.orig.tar.* --strip-components=1 -C "$dir.new"
		make -s -C "$dir.new" sparse
	) >"$BUILD/sparse.log" 2>&1 || die_log "$BUILD/sparse.log" "no sparse"
	mv "$dir.new" "$dir"
	[[ $(sh "$KERNEL/scripts/checker-valid.sh" sparse) == 1 ]] ||
		die "even the newest sparse is too old for this kernel"
}

# need_herd: sets HERD to the command of herd7, the system's or one that is unpacked in
# $BUILD/herd, with the C library that it was built for
# shellcheck disable=SC2034 # used by scripts/test
need_herd()
{
	local dir=$BUILD/herd lib

	if [[ -n $(type -P herd7) ]]; then
		HERD=(herd7)
		return
	fi
	lib=$dir/usr/lib/x86_64-linux-gnu
	HERD=("$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$dir/usr/bin/herd7" \
		-set-libdir "$dir/usr/share/herdtools7/herd")
	[[ ! -x $dir/usr/bin/herd7 ]] || return 0
	say "fetching herd7 from the distribution"
	unpack_packages native "$dir" {herdtools7,libc6,libgmp10}/sid
}

# is_git_tree DIR: DIR is the top of a git work tree, not a folder inside one
is_git_tree()
{
	[[ $(git -C "$1" rev-parse --show-toplevel 2>/dev/null) == "$(realpath "$1")" ]]
}

# check_ownership DIR: git works in the tree, if it is one of git's. It refuses one
# that another user owns; such a tree is not to be taken for a plain one.
check_ownership()
{
	local why

	[[ -e $1/.git ]] || return 0
	why=$(git -C "$1" rev-parse --git-dir 2>&1 >/dev/null) ||
		die "git refuses $1: ${why%%$'\n'*}; run this as its owner, or clone it"
}

# under_way DIR: names what git has not finished in the work tree DIR; nothing if
# there is nothing
under_way()
{
	local dir

	dir=$(git -C "$1" rev-parse --absolute-git-dir)
	if [[ -e $dir/rebase-merge || -e $dir/rebase-apply/rebasing ]]; then
		echo 'a rebase'
	elif [[ -e $dir/rebase-apply ]]; then
		echo 'git am'
	elif [[ -e $dir/MERGE_HEAD ]]; then
		echo 'a merge'
	elif [[ -e $dir/CHERRY_PICK_HEAD ]]; then
		echo 'a cherry-pick'
	elif [[ -e $dir/REVERT_HEAD ]]; then
		echo 'a revert'
	elif [[ -e $dir/BISECT_LOG ]]; then
		echo 'a bisect'
	fi
}

# use_source DIR: what --source asks for; KSRC in the environment does the same
use_source()
{
	[[ -d $1 ]] || die "no such folder: $1"
	need_git
	check_ownership "$1"
	[[ $(kernel_version "$1") == "$SERIES_VERSION" ]] ||
		die "$1 is not a Linux $SERIES_VERSION source tree"
	KSRC=$(realpath "$1")
	export KSRC
}

# kernel_version DIR: "7.2" for a kernel tree of any 7.2.x; nothing otherwise
kernel_version()
{
	[[ -f $1/Makefile && -f $1/Kbuild && -f $1/mm/zsmalloc.c ]] || return 0
	awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3; exit }' "$1/Makefile"
}

# kernel_release DIR: "7.2.13"
kernel_release()
{
	awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { p = $3 }
	     $1 == "SUBLEVEL" { print v "." p "." $3; exit }' "$1/Makefile"
}

# tree_state DIR: a word that changes when the kernel tree DIR does
tree_state()
{
	if is_git_tree "$1" && [[ -z $(git -C "$1" status --porcelain -uno) ]]; then
		git -C "$1" rev-parse HEAD
	else
		find "$1" -name .git -prune -o -type f -printf '%P %s %T@\n' |
			sort | sha256sum | cut -d' ' -f1
	fi
}

# import REPO: the kernel source in REPO, not yet a git repository, becomes one
# with a single commit, branch "pristine"
import()
{
	local repo=$1

	# Debian's source ignores every new file at the top, for its own packaging
	sed -i '/^# Debian packaging: ignore everything/,$d' "$repo/.gitignore"
	git -C "$repo" init -q -b pristine
	git -C "$repo" config core.compression 0
	git -C "$repo" config gc.auto 0
	git -C "$repo" config user.name zsmalloc
	git -C "$repo" config user.email zsmalloc@localhost
	git -C "$repo" add -f -A .
	GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' \
		git -C "$repo" commit -q -m "Linux $(kernel_release "$repo")"
}

# copy_tree FROM TO: a user's kernel tree without what was built in it
copy_tree()
{
	mkdir -p "$2"
	if is_git_tree "$1"; then
		[[ -z $(git -C "$1" status --porcelain -uno) ]] ||
			die "$1 has uncommitted changes; commit or stash them first"
		git -C "$1" archive HEAD | tar -x -C "$2"
	else
		rsync -a --exclude .git "$1/" "$2/"
		make -s -C "$2" mrproper >/dev/null
	fi
}

# kernel_source VERSION: sets KERNEL to a git repository in $BUILD whose branch
# "pristine" is that kernel. Made on the first call; made anew when the tree
# that --source or KSRC names has changed. Ours: scripts check out in it what
# they build.
kernel_source()
{
	local version=$1 from='' state deb new

	[[ $version == "$SERIES_VERSION" ]] && from=${KSRC-}
	if [[ -n $from ]]; then
		use_source "$from"
		from=$KSRC
		state="$from $(tree_state "$from")"
		KERNEL=$BUILD/linux-$version-$(key "$from")
	else
		state="linux-source-$version"
		KERNEL=$BUILD/linux-$version
	fi
	[[ $(cat "$KERNEL.state" 2>/dev/null) == "$state" ]] && return

	need_git
	need xz-utils rsync perl make gcc flex bison debian-archive-keyring
	new=$KERNEL.new
	if [[ -e $new ]]; then
		say "removing what an earlier run has left (minutes, on a slow disk): $new"
		rm -rf "$new"
	fi
	if [[ -n $from ]]; then
		# Before the long part
		"$ROOT/scripts/apply" "$from" --check >/dev/null || exit 1
		say "copying $from"
		copy_tree "$from" "$new"
	else
		say "fetching linux-source-$version from the distribution"
		deb=$(fetch_package "$version")
		say "unpacking ${deb##*/}"
		mkdir -p "$new"
		dpkg-deb --fsys-tarfile "$deb" |
			tar -xO "./usr/src/linux-source-$version.tar.xz" |
			tar -xJ --strip-components=1 -C "$new"
		rm -f "$deb"
	fi
	say "importing Linux $(kernel_release "$new") into git (about a minute)"
	import "$new"
	rm -rf "$KERNEL" "$KERNEL.state"
	mv -T "$new" "$KERNEL"
	echo "$state" >"$KERNEL.state"
}
