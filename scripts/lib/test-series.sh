# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Checks of the way between patches/ and kernel trees: apply, export, tree.
# Part of scripts/test. Each runs in a folder of its own.

# git_tree DIR: a pristine kernel tree under git, with the same identity for all.
# A check that changes it puts it back.
git_tree()
{
	[[ -d $1 ]] ||
		git clone -q --shared --single-branch -b pristine "$KERNEL" "$1"
	git -C "$1" config user.name Tester
	git -C "$1" config user.email tester@localhost
	git -C "$1" config gc.auto 0
	git -C "$1" reset -q --hard origin/pristine
	git -C "$1" clean -q -f -d -x
}

# plain_tree DIR: the files of a pristine kernel that the series needs, no git
plain_tree()
{
	local f

	rm -rf "$1"
	for f in Makefile Kbuild $(touched_files "$SERIES_VERSION"); do
		git -C "$KERNEL" cat-file -e "pristine:$f" 2>/dev/null || continue
		mkdir -p "$1/$(dirname "$f")"
		git -C "$KERNEL" cat-file blob "pristine:$f" >"$1/$f"
	done
}

# same_as_series DIR: DIR has the files of the series, to the byte
same_as_series()
{
	local f n=0

	for f in $(touched_files "$SERIES_VERSION"); do
		git -C "$KERNEL" cat-file blob "$TIP:$f" | cmp - "$1/$f"
		n=$((n + 1))
	done
	[[ $n -gt 3 ]]
}

# state_of DIR: all files, their contents, and git's head and index
state_of()
{
	if [[ -d $1/.git ]]; then
		git -C "$1" rev-parse HEAD "HEAD^{tree}"
		git -C "$1" status --porcelain --ignored
		git -C "$1" count-objects
		git -C "$1" diff HEAD
	else
		(cd "$1" && find . -type f -exec sha256sum {} + | sort)
	fi
}

# refuses TEXT DIR COMMAND...: fails with one line that has TEXT, DIR unchanged. If it
# can't know at once, PROGRESS lines come before that say what it does.
refuses()
{
	local text=$1 dir=$2 before

	shift 2
	before=$(state_of "$dir" 2>/dev/null || true)
	if "$@" >refuses.out 2>&1; then
		echo "did not fail: $*"
		return 1
	fi
	[[ $(wc -l <refuses.out) == $((1 + ${PROGRESS:-0})) ]] || { echo "not one line:"; cat refuses.out; return 1; }
	tail -n 1 refuses.out | grep -qF -- "$text" || { echo "not '$text' but: $(cat refuses.out)"; return 1; }
	[[ $before == "$(state_of "$dir" 2>/dev/null || true)" ]] || { echo "$dir was changed"; return 1; }
}

APPLY=$ROOT/scripts/apply

check_apply_git()
{
	local before

	git_tree "$GIT_TREE"
	before=$(state_of "$GIT_TREE")
	"$APPLY" "$GIT_TREE" --check
	[[ $before == "$(state_of "$GIT_TREE")" ]]
	"$APPLY" "$GIT_TREE"
	[[ $(git -C "$GIT_TREE" rev-parse "HEAD^{tree}") == $(git -C "$KERNEL" rev-parse "$TIP^{tree}") ]]
	[[ -z $(git -C "$GIT_TREE" status --porcelain) ]]
	# authors and messages are those of the patches
	git -C "$GIT_TREE" log --format='%an %ae %ad%n%B' origin/pristine.. >is
	git -C "$KERNEL" log --format='%an %ae %ad%n%B' "pristine..$TIP" >should
	[[ -s should ]]
	diff is should
	[[ $(git -C "$GIT_TREE" log -1 --format=%cn) == Tester ]]
	refuses 'is in' "$GIT_TREE" "$APPLY" "$GIT_TREE"
	refuses 'is in' "$GIT_TREE" "$APPLY" --check "$GIT_TREE"
	git_tree "$GIT_TREE"
}

check_apply_plain()
{
	local before

	plain_tree plain
	before=$(state_of plain)
	HOME=$PWD "$APPLY" --check plain # git does not know who this is
	[[ $before == "$(state_of plain)" ]]
	"$APPLY" plain
	same_as_series plain
	[[ -z $(find plain -name '*.zsmalloc-new') ]]
	refuses 'is in' plain "$APPLY" plain
}

check_apply_errors()
{
	refuses 'no such folder' nowhere "$APPLY" nowhere
	mkdir -p empty
	refuses 'not a kernel tree' empty "$APPLY" empty

	plain_tree other
	sed -i 's/^PATCHLEVEL = .*/PATCHLEVEL = 99/' other/Makefile
	refuses 'there are patches for: 7.2' other "$APPLY" other

	git_tree "$GIT_TREE"
	echo >>"$GIT_TREE/mm/zsmalloc.c"
	refuses 'uncommitted changes in mm/zsmalloc.c' "$GIT_TREE" "$APPLY" "$GIT_TREE"
	refuses 'uncommitted changes in mm/zsmalloc.c' "$GIT_TREE" "$APPLY" --check "$GIT_TREE"
	git_tree "$GIT_TREE"

	git -C "$GIT_TREE" rev-parse HEAD >"$GIT_TREE/.git/MERGE_HEAD"
	refuses 'a merge is under way' "$GIT_TREE" "$APPLY" --check "$GIT_TREE"
	rm "$GIT_TREE/.git/MERGE_HEAD"

	# a tree that git does not want to work in is not taken for a plain one
	if ((!EUID)); then
		plain_tree foreign
		git -C foreign init -q
		chown -R nobody foreign
		refuses 'git refuses' foreign "$APPLY" foreign
	fi

	# a change to a file that the series does not touch is kept
	echo >>"$GIT_TREE/COPYING"
	"$APPLY" "$GIT_TREE"
	git -C "$GIT_TREE" diff --name-only | grep -qx COPYING
	git_tree "$GIT_TREE"

	# a patch that does not apply is named, with the file
	plain_tree conflict
	sed -i 's/obj_to_location/obj_to_place/' conflict/mm/zsmalloc.c
	refuses 'mm/zsmalloc.c' conflict "$APPLY" conflict
	refuses '.patch does not apply' conflict "$APPLY" --check conflict
	plain_tree link
	mv link/mm/zsmalloc.c link/elsewhere.c
	ln -s ../elsewhere.c link/mm/zsmalloc.c
	refuses 'symbolic link' link "$APPLY" link
	plain_tree exists
	echo x >exists/mm/zsmalloc_obj.h
	refuses 'mm/zsmalloc_obj.h exists already' exists "$APPLY" exists
	plain_tree part
	"$APPLY" part
	echo >>part/mm/zsmalloc_obj.h
	refuses 'part of the series' part "$APPLY" part
	refuses 'part of the series' part "$ROOT/scripts/export" "$SERIES_VERSION" --source part -o mails
	refuses "not a Linux $SERIES_VERSION source tree" empty "$ROOT/scripts/export" "$SERIES_VERSION" --source empty -o mails
	plain_tree wall
	mkdir -p wall/tools/testing/selftests
	echo >wall/tools/testing/selftests/zsmalloc
	refuses "can't be written" wall "$APPLY" wall
	[[ ! -e wall/Documentation/mm/zsmalloc.rst.zsmalloc-new ]]
	# the first patch only: it adds no file
	plain_tree first
	(cd first && patch -s -p1) <"$(series_patches "$SERIES_VERSION" | sed -n 1p)"
	refuses 'this patch is there already' first "$APPLY" first
	echo x >"$GIT_TREE/mm/zsmalloc_obj.h"
	refuses 'untracked file mm/zsmalloc_obj.h in the way' "$GIT_TREE" "$APPLY" "$GIT_TREE"
	rm "$GIT_TREE/mm/zsmalloc_obj.h"
	mkdir -p "$GIT_TREE/tools/testing/selftests"
	echo >"$GIT_TREE/tools/testing/selftests/zsmalloc"
	git -C "$GIT_TREE" add -f tools
	git -C "$GIT_TREE" commit -q -m 'a file in the way'
	refuses 'tools/testing/selftests/zsmalloc is not a folder' "$GIT_TREE" "$APPLY" "$GIT_TREE"
	git_tree "$GIT_TREE"
	echo >file
	refuses 'is not a folder' file "$APPLY" file
	BUILD=$PWD/file/build refuses "can't be written to" file "$ROOT/scripts/export" "$SERIES_VERSION"
	sed -i 's/obj_to_location/obj_to_place/' "$GIT_TREE/mm/zsmalloc.c"
	git -C "$GIT_TREE" commit -q -a -m conflict
	refuses 'mm/zsmalloc.c' "$GIT_TREE" "$APPLY" "$GIT_TREE"
	git_tree "$GIT_TREE"
}

# Stopped at any time, a tree is either as it was or has the whole series. By
# SIGTERM, which is handled as Ctrl-C is: SIGINT is ignored in what a shell runs
# in the background, and this may be.
check_apply_interrupted()
{
	local delay before whole=0 none=0

	plain_tree plain
	before=$(state_of plain)
	for delay in 0.02 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.5 0.6 0.8 1 3 60; do
		plain_tree plain
		timeout -s TERM "$delay" "$APPLY" plain || true
		[[ -z $(find plain -name '*.zsmalloc-new') ]]
		if [[ $before == "$(state_of plain)" ]]; then
			none=$((none + 1))
		else
			same_as_series plain
			whole=$((whole + 1))
		fi
	done
	echo "plain tree: untouched $none times, whole $whole times"
	((none && whole))

	# The moment that matters most is git's fast-forward; the others by chance
	none=0 whole=0
	git_tree "$GIT_TREE"
	before=$(git_state "$GIT_TREE")
	for delay in write 0.3 0.6 0.9 1.2 10 120; do
		git_tree "$GIT_TREE"
		if [[ $delay == write ]]; then
			interrupt_at_checkout
		else
			timeout -s TERM "$delay" "$APPLY" "$GIT_TREE" || true
		fi
		[[ ! -e $GIT_TREE/.git/index.lock ]]
		if [[ $before == "$(git_state "$GIT_TREE")" ]]; then
			none=$((none + 1))
		else
			[[ $(git -C "$GIT_TREE" rev-parse "HEAD^{tree}") == $(git -C "$KERNEL" rev-parse "$TIP^{tree}") ]]
			[[ -z $(git -C "$GIT_TREE" status --porcelain --ignored) ]]
			whole=$((whole + 1))
		fi
	done
	git_tree "$GIT_TREE"
	echo "git tree: untouched $none times, whole $whole times"
	((none && whole))
}

# git_state DIR: head, index and files; loose objects that nothing refers to don't
# count
git_state()
{
	git -C "$1" rev-parse HEAD "HEAD^{tree}"
	git -C "$1" status --porcelain --ignored
}

# interrupt_at_checkout: runs apply, and stops it and all that it started in its
# session, as a terminal does, when git has begun to write the files: a filter
# that one of the files goes through says when
interrupt_at_checkout()
{
	echo 'mm/zsmalloc_obj.h filter=stop' >"$GIT_TREE/.git/info/attributes"
	git -C "$GIT_TREE" config filter.stop.smudge "touch $PWD/writing; sleep 1; cat"
	rm -f writing
	(
		until [[ -e writing ]]; do sleep 0.02; done
		kill -TERM -- "-$(cat session)"
	) &
	# shellcheck disable=SC2016 # for the inner shell
	setsid -w bash -c 'echo $$ >session; exec "$@"' - "$APPLY" "$GIT_TREE" || true
	[[ -e writing ]]
	wait
	rm -f "$GIT_TREE/.git/info/attributes"
	git -C "$GIT_TREE" config --unset filter.stop.smudge
}

check_export()
{
	local mails ours

	"$ROOT/scripts/export" "$SERIES_VERSION" -o mails
	mails=$(find mails -name '*.patch' | wc -l)
	[[ $mails == $(($(series_patches "$SERIES_VERSION" | wc -l) + 1)) ]]
	never grep -E '\*\*\* (SUBJECT|BLURB)' mails/0000-*
	never grep '^Signed-off-by:' mails/*.patch
	git_tree "$GIT_TREE"
	# shellcheck disable=SC2046 # names without blanks
	git -C "$GIT_TREE" am -q $(find "$PWD/mails" -name '*.patch' ! -name '0000-*' | sort)
	[[ $(git -C "$GIT_TREE" rev-parse "HEAD^{tree}") == $(git -C "$KERNEL" rev-parse "$TIP^{tree}") ]]
	git_tree "$GIT_TREE"

	refuses 'is not an empty folder' mails "$ROOT/scripts/export" "$SERIES_VERSION" -o mails
	refuses 'no patches for Linux 9.9' mails "$ROOT/scripts/export" 9.9 -o other
	GIT_COMMITTER_NAME='Some Sender' GIT_COMMITTER_EMAIL=sender@localhost \
		"$ROOT/scripts/export" "$SERIES_VERSION" --signoff -v 2 -o signed 2>signed.err
	ours=$(grep -lx 'Signed-off-by: Some Sender <sender@localhost>' signed/*.patch | wc -l)
	[[ $ours == $((mails - 1)) ]]
	grep -q 'note: the patches are by' signed.err
	grep -qE '^Subject: \[PATCH v2 0*1/' signed/*0001-*

	# Who sends is who this repository says, wherever the script is called from
	git init -q elsewhere
	git -C elsewhere config user.name Another
	git -C elsewhere config user.email another@localhost
	(
		cd elsewhere || exit
		unset "${!GIT_COMMITTER_@}" "${!GIT_AUTHOR_@}" EMAIL
		export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
		! git -C "$ROOT" var GIT_COMMITTER_IDENT >/dev/null 2>&1 ||
			{ echo "this repository says who commits"; exit; }
		refuses 'does not know who you are' ../mine "$ROOT/scripts/export" "$SERIES_VERSION" --signoff -o ../mine
		[[ ! -e ../mine ]]
	)
}

# A round trip changes nothing, and a change comes back as it was made
check_tree()
{
	local repo=$PWD/repo tree=$PWD/tree

	git clone -q "$ROOT" "$repo"
	# with what is not committed yet
	(cd "$ROOT" && git ls-files -z -co --exclude-standard |
		rsync -a --delete-missing-args --from0 --files-from=- ./ "$repo/")
	git -C "$repo" add -A
	git -C "$repo" -c user.name=t -c user.email=t@localhost commit -q --allow-empty -m state

	export BUILD
	"$repo/scripts/tree" "$SERIES_VERSION" "$tree"
	[[ $(git -C "$tree" rev-parse "HEAD^{tree}") == $(git -C "$KERNEL" rev-parse "$TIP^{tree}") ]]
	"$repo/scripts/tree" --save "$SERIES_VERSION" "$tree"
	[[ -z $(git -C "$repo" status --porcelain) ]]
	# again: left as it is
	"$repo/scripts/tree" "$SERIES_VERSION" "$tree" 2>again
	grep -q 'has the series as it is here' again

	git -C "$tree" config user.name Tester
	git -C "$tree" config user.email tester@localhost
	echo '/* changed */' >>"$tree/mm/zsmalloc_obj.h"
	refuses 'uncommitted changes' "$repo/patches" "$repo/scripts/tree" --save "$SERIES_VERSION" "$tree"
	echo '// new' >"$tree/mm/zsmalloc_new.c"
	echo >>"$tree/mm/zsmalloc.c"
	git -C "$tree" add -A
	git -C "$tree" commit -q -m 'mm/zsmalloc: a change' -m 'Why: to see it come back.'
	echo x >>"$repo/mm/zsmalloc_obj.h"
	PROGRESS=2 refuses 'have changed since' "$repo/patches" "$repo/scripts/tree" --save "$SERIES_VERSION" "$tree"
	git -C "$repo" checkout -q mm/zsmalloc_obj.h
	"$repo/scripts/tree" "$SERIES_VERSION" "$tree" 2>again
	grep -q 'changes that are not saved' again
	"$repo/scripts/tree" --save "$tree"
	[[ -f $repo/mm/zsmalloc_new.c ]]
	# patches that were not saved from this tree are not replaced by it
	git -C "$repo" add -A
	git -C "$repo" -c user.name=t -c user.email=t@localhost commit -q -m change
	git -C "$repo" checkout -q HEAD~1
	PROGRESS=2 refuses 'have changed since' "$repo/patches" "$repo/scripts/tree" --save "$tree"
	"$repo/scripts/tree" "$SERIES_VERSION" "$tree" 2>again
	grep -q 'not what patches/ has now' again
	git -C "$repo" checkout -q -
	git -C "$repo" reset -q HEAD~1
	tail -n 1 "$repo/mm/zsmalloc_obj.h" | grep -q changed
	grep -lx 'New-file: mm/zsmalloc_new.c' "$repo"/patches/linux-"$SERIES_VERSION"/*-a-change.patch
	plain_tree plain
	"$repo/scripts/apply" plain
	cmp plain/mm/zsmalloc.c "$tree/mm/zsmalloc.c"
	cmp plain/mm/zsmalloc_obj.h "$tree/mm/zsmalloc_obj.h"

	# what patches can't carry is refused
	git -C "$tree" mv mm/zsmalloc_new.c mm/zsmalloc_other.c
	git -C "$tree" commit -q -m 'mm/zsmalloc: rename a file' -m 'That the commit before adds.'
	PROGRESS=1 refuses 'removed or renamed' "$repo" "$repo/scripts/tree" --force --save "$SERIES_VERSION" "$tree"
	git -C "$tree" reset -q --hard HEAD~1
	git -C "$tree" commit -q --allow-empty -m 'mm/zsmalloc: a line' -m 'above' -m '---' -m 'below'
	PROGRESS=1 refuses "a line '---'" "$repo" "$repo/scripts/tree" --force --save "$SERIES_VERSION" "$tree"
	git -C "$tree" reset -q --hard HEAD~1

	GIT_SEQUENCE_EDITOR="sed -i 1s/pick/edit/" git -C "$tree" rebase -q -i pristine
	refuses 'a rebase is under way' "$repo" "$repo/scripts/tree" --force --save "$SERIES_VERSION" "$tree"
	git -C "$tree" rebase --abort
	git -C "$tree" checkout -q --detach
	refuses 'is on no branch' "$repo" "$repo/scripts/tree" --force --save "$SERIES_VERSION" "$tree"
	git -C "$tree" checkout -q -

	# what save itself has written is no reason to refuse
	git -C "$tree" reset -q --hard HEAD~1
	"$repo/scripts/tree" --save "$SERIES_VERSION" "$tree"
	[[ ! -e $repo/mm/zsmalloc_new.c && -z $(git -C "$repo" status --porcelain) ]]
	refuses 'not a tree of this script' "$repo/patches" "$repo/scripts/tree" --save "$SERIES_VERSION" "$repo"
	refuses 'exists and is not a tree' "$repo/patches" "$repo/scripts/tree" "$SERIES_VERSION" "$repo/patches"
}

# Callers can't tell: zram, zswap and what they include stay as they are
check_callers()
{
	git -C "$KERNEL" diff --name-only pristine "$TIP" >changed
	grep -qx mm/zsmalloc.c changed
	never grep -E '^(drivers/block/zram/|mm/zswap\.c|include/linux/(zsmalloc|zswap)\.h)' changed
}

# checkpatch --strict on every mail. The sender signs, at export.
check_checkpatch()
{
	git -C "$KERNEL" format-patch -q -o "$PWD/mails" "pristine..$TIP"
	checkout "$TIP"
	export KERNEL
	export -f checkpatch
	# shellcheck disable=SC2016 # for the inner shell
	find "$PWD/mails" -name '*.patch' -print0 | xargs -0 -n 1 -P "$JOBS" bash -c 'checkpatch "$1"' -
}

# checkpatch MAIL: prints what is wrong with it
checkpatch()
{
	local words=/usr/lib/python3/dist-packages/codespell_lib/data/dictionary.txt out status=0

	# whether MAINTAINERS has all files is for check_maintainers
	out=$(perl "$KERNEL/scripts/checkpatch.pl" --root="$KERNEL" --strict --no-signoff \
		--ignore FILE_PATH_CHANGES \
		--codespell --codespellfile="$words" --show-types "$1" 2>&1) || status=1
	grep -qE 'total: 0 errors, 0 warnings(, 0 checks)?,' <<<"$out" || status=1
	((!status)) || echo "$out"
	return "$status"
}

# No sign-off and nobody's tag in what is stored; a message that says something
check_messages()
{
	local patch words subject n=0

	for patch in $(series_patches "$SERIES_VERSION"); do
		never grep -nE '^(Signed-off|Reviewed|Acked|Tested|Suggested|Reported)-by:' "$patch"
		subject=$(sed -n 's/^Subject: \[PATCH\] //p' "$patch")
		words=$(sed -n '/^$/,/^---$/p' "$patch" | wc -w)
		[[ ${#subject} -le 75 && $words -ge 40 ]] || { echo "$patch: subject or message"; return 1; }
		n=$((n + 1))
	done
	((n))
}
