# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# From patches/ and the in-tree files of this repository to commits, and back.
# Needs common.sh.
#
# A patch has the message and the diff against files that the kernel has at that
# point. Files that a patch adds are named by "New-file:" lines in its header.
# They are kept once, in this repository at their path in the kernel, as the last
# patch leaves them. The text that an earlier commit has is found by undoing the
# diffs of the later ones.

# The folder that has patches/ and the files
SERIES=$ROOT

# series_patches VERSION: the patches in order; of peers/NAME instead of a version,
# those of another design, which are for the same kernel
series_patches()
{
	local dir=$SERIES/patches/linux-$1

	[[ $1 != peers/* ]] || dir=$SERIES/patches/$1
	[[ -d $dir ]] || return 0
	find "$dir" -name '[0-9]*.patch' ! -name '0000-*' | sort
}

# new_files PATCH: the files that it adds
new_files()
{
	local line

	while read -r line && [[ -n $line ]]; do
		[[ $line != 'New-file: '* ]] || echo "${line#New-file: }"
	done <"$1"
}

# has_diff PATCH
has_diff()
{
	grep -q '^diff --git ' "$1"
}

# touched_files VERSION: every file that the series adds or changes
touched_files()
{
	local patch

	series_patches "$1" | while read -r patch; do
		new_files "$patch"
		sed -n 's|^diff --git a/.* b/||p' "$patch"
	done | sort -u
}

# small_index REPO COMMIT FILE...: REPO's index has these files of COMMIT, no others
small_index()
{
	git -C "$1" read-tree --empty || return
	git -C "$1" ls-tree -r --full-tree "$2" -- "${@:3}" | git -C "$1" update-index --index-info
}

# series_commits REPO BASE VERSION: makes the series, or the patches of peers/NAME,
# as commits on BASE, without touching REPO's index, work tree or branches, and
# prints the last one. On error says which patch and file, and returns 1. For $(...), as
# it sets a trap. Its caller may ask for the status, so nothing here relies on set -e.
series_commits()
{
	local repo=$1 base=$2 version=$3
	local work patches patch files added before f mode i err objects

	mapfile -t patches < <(series_patches "$version")
	((${#patches[@]})) || { echo "no patches: $version" >&2; return 1; }
	work=$(mktemp -d) || return
	# shellcheck disable=SC2064 # now: it is local
	trap "rm -rf '$work'" EXIT

	# What the added files are at each patch: undo the series from its end
	export GIT_INDEX_FILE=$work/index
	git -C "$repo" read-tree --empty || return
	while read -r f; do
		mode=100644
		[[ -x $SERIES/$f ]] && mode=100755
		git -C "$repo" update-index --add --cacheinfo \
			"$mode,$(git -C "$repo" hash-object -w --no-filters "$SERIES/$f"),$f" || return
	done < <(for patch in "${patches[@]}"; do new_files "$patch"; done)
	for ((i = ${#patches[@]} - 1; i >= 0; i--)); do
		patch=${patches[i]}
		added=$(git -C "$repo" ls-files) || return
		while read -r f; do
			[[ $'\n'$added$'\n' == *$'\n'"$f"$'\n'* ]] || continue
			git -C "$repo" apply --cached -R --include="$f" "$patch" 2>"$work/err" || {
				echo "${patch##*/} does not match $f: $(head -n 1 "$work/err")" >&2
				return 1
			}
		done < <(sed -n 's|^diff --git a/.* b/||p' "$patch")
		: >"$work/new-$i"
		while read -r f; do
			git -C "$repo" ls-files -s -- "$f" >>"$work/new-$i" || return
			git -C "$repo" update-index --force-remove -- "$f" || return
		done < <(new_files "$patch")
	done

	# And the series itself. Of BASE, the index has no more than the series touches:
	# that of a whole kernel would be read and written again for each patch
	mapfile -t files < <(touched_files "$version")
	small_index "$repo" "$base" "${files[@]}" || return
	# a file of BASE where these have a folder
	f=$(for f in "${files[@]}"; do
		while [[ $f == */* ]]; do
			f=${f%/*}
			echo "$base:$f $f"
		done
	done | sort -u | git -C "$repo" cat-file --batch-check='%(objecttype) %(rest)' |
		sed -n 's/^blob //p' | head -n 1) || return
	[[ -z $f ]] || { echo "the series does not apply: $f is not a folder" >&2; return 1; }
	base=$(git -C "$repo" rev-parse "$base^{commit}") || return
	printf 'feature done\nreset refs/heads/series\nfrom %s\n\n' "$base" >"$work/stream"
	for i in "${!patches[@]}"; do
		patch=${patches[i]}
		err=''
		before=$(git -C "$repo" ls-files) || return
		if has_diff "$patch"; then
			git -C "$repo" apply --cached "$patch" 2>"$work/err" ||
				err=$(head -n 1 "$work/err")
		fi
		while read -r f; do
			[[ $'\n'$before$'\n' != *$'\n'"$f"[$'\n'/]* ]] || err="$f exists already"
		done < <(new_files "$patch")
		if [[ -n $err ]]; then
			echo "${patch##*/} does not apply: ${err#error: }" >&2
			return 1
		fi
		git -C "$repo" update-index --index-info <"$work/new-$i" || return
		commit_stream "$repo" "$patch" "$work" "$before" >>"$work/stream" || return
	done
	echo 'done' >>"$work/stream"

	# fast-import's branch is in a repository of its own, with the objects of REPO
	objects=$(git -C "$repo" rev-parse --path-format=absolute --git-path objects) || return
	git init -q --bare --template= "$work/import" \
		--object-format="$(git -C "$repo" rev-parse --show-object-format)" || return
	GIT_OBJECT_DIRECTORY=$objects git --git-dir="$work/import" -c core.hooksPath=/dev/null \
		-c fastimport.unpackLimit=1000000 fast-import --quiet --date-format=rfc2822 \
		<"$work/stream" >&2 || return
	GIT_OBJECT_DIRECTORY=$objects git --git-dir="$work/import" rev-parse -q --verify refs/heads/series
}

# commit_stream REPO PATCH WORK FILES: for git fast-import, a commit of what the index
# has in place of FILES, with the author, the date and the message of a mail. The same
# input gives the same commit.
commit_stream()
{
	local repo=$1 patch=$2 work=$3 line subject='' name='' email='' date=''

	git -C "$repo" -c i18n.commitEncoding=UTF-8 mailinfo "$work/msg" "$work/diff" \
		<"$patch" >"$work/info" || return
	while read -r line; do
		case $line in
		'Subject: '*) subject=${line#*: } ;;
		'Author: '*) name=${line#*: } ;;
		'Email: '*) email=${line#*: } ;;
		'Date: '*) date=${line#*: } ;;
		esac
	done <"$work/info"
	{
		printf '%s\n\n' "$subject"
		cat "$work/msg"
	} | git -C "$repo" stripspace >"$work/message" || return

	echo 'commit refs/heads/series'
	echo "author $name <$email> $date"
	echo "committer ${GIT_COMMITTER_NAME:-$name} <${GIT_COMMITTER_EMAIL:-$email}> $date"
	echo "data $(wc -c <"$work/message")"
	cat "$work/message"
	[[ -z $4 ]] || printf 'D %s\n' "${4//$'\n'/$'\nD '}"
	# mode, object, stage and a tab, file
	git -C "$repo" ls-files -s | sed 's/ 0\t/ /; s/^/M /' || return
	echo
}

# commit_as_user REPO: commits made from here on have the user as committer, where
# git knows who that is; otherwise the author of each patch
commit_as_user()
{
	local ident

	ident=$(git -C "$1" var GIT_COMMITTER_IDENT 2>/dev/null) || return 0
	GIT_COMMITTER_NAME=${ident% <*}
	GIT_COMMITTER_EMAIL=${ident##*<}
	GIT_COMMITTER_EMAIL=${GIT_COMMITTER_EMAIL%>*}
	export GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
}

# commit_to_patch REPO COMMIT: COMMIT as a file of patches/, on stdout
commit_to_patch()
{
	local repo=$1 commit=$2 added

	mapfile -t added < <(git -C "$repo" diff-tree -r --no-renames --diff-filter=A \
		--name-only --no-commit-id "$commit")
	git -C "$repo" format-patch -1 --stdout --zero-commit --no-signature --stat \
		--no-renames --no-base --no-attach --no-cover-letter --no-encode-email-headers \
		-N --no-to --no-cc --no-thread --no-signoff --subject-prefix=PATCH "$commit" |
		awk -v added="${added[*]}" '
			/^$/ && !header { n = split(added, f, " ")
				for (i = 1; i <= n; i++) print "New-file: " f[i]
				header = 1 }
			!end { print }
			/^---$/ { end = 1 }'
	git -C "$repo" diff-tree -p -r --no-renames --diff-filter=a --no-commit-id \
		--no-color --no-ext-diff --src-prefix=a/ --dst-prefix=b/ --abbrev=12 \
		-U3 --diff-algorithm=myers "$commit"
}

# commits_text REPO BASE TIP: what the commits from BASE to TIP are
commits_text()
{
	git -C "$1" log --reverse --format='%T %an <%ae> %ad%n%B' "$2..$3"
}

# compare_tree DIR VERSION: how the commits of DIR, a tree of scripts/tree, compare
# with the patches here: "same"; "newer", if the patches are still what DIR was made
# from or saved to; "other" if they are not
compare_tree()
{
	local base tip ours

	base=$(git -C "$1" merge-base pristine HEAD)
	if tip=$(series_commits "$1" "$base" "$2" 2>/dev/null); then
		ours=$(commits_text "$1" "$base" "$tip")
		if [[ $ours == "$(commits_text "$1" "$base" HEAD)" ]]; then
			echo same
			return
		elif [[ $ours == "$(commits_text "$1" "$base" refs/zsmalloc/saved 2>/dev/null)" ]]; then
			echo newer
			return
		fi
	fi
	echo other
}

# code_diff COMMIT OPTION...: how the kernel itself differs from the pristine one:
# neither its tests nor its documentation
code_diff()
{
	git -C "$KERNEL" diff "${@:2}" pristine "$1" -- . ':!Documentation' ':!MAINTAINERS' ':!lib' ':!tools'
}

# series_number NAME [UNIT]: a number in a definition in the series
series_number()
{
	local n

	n=$(git -C "$KERNEL" show "$TIP:mm/zsmalloc.c" |
		sed -n "s/^#define $1[^0-9]*\([0-9]\+\)${2-}.*/\1/p")
	[[ $n =~ ^[0-9]+$ ]] || die "the series does not say what $1 is"
	echo "$n"
}

# code_only COMMIT FILE: the file as it is in a commit, C without comments
code_only()
{
	git -C "$KERNEL" cat-file -e "$1:$2" 2>/dev/null || return 0
	case $2 in
	*.[ch]) git -C "$KERNEL" show "$1:$2" | gcc -fpreprocessed -dD -E -P -w -x c - ;;
	*) git -C "$KERNEL" show "$1:$2" ;;
	esac
}

# series_code SCRIPT: a name for all of the series that the figures of SCRIPT depend
# on: the kernel itself, and for bench what measures. The same for the same code, on
# any 7.2.x, whatever its comments say
series_code()
{
	local tests=tools/testing/selftests/zsmalloc files f change

	files=$(code_diff "$TIP" --name-only)
	[[ $1 != bench ]] || files+=" $tests/munmap.c $tests/util.h $tests/zram_device.h"
	for f in $files; do
		change=$(diff -u --label "a/$f" --label "b/$f" \
			<(code_only pristine "$f") <(code_only "$TIP" "$f")) || (($? == 1))
		[[ -z $change ]] || printf 'diff --git a/%s b/%s\n%s\n' "$f" "$f" "$change"
	done | git patch-id --stable | cut -c1-12
}

# stand: of which day, kernel and series a table is
stand()
{
	echo "$(date +%F), Linux $(kernel_release "$KERNEL"), series $(series_code profile)"
}

# series_checkout: the series as commits in the repository KERNEL; sets TIP
series_checkout()
{
	say "making commits of the patches"
	# shellcheck disable=SC2034
	TIP=$(series_commits "$KERNEL" pristine "$SERIES_VERSION") ||
		die "the series does not apply to ${KSRC:-linux-source-$SERIES_VERSION}"
}
