# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Checks of this repository's own files. Part of scripts/test.

# all bash scripts, by their first line or their name
our_scripts()
{
	local f

	git -C "$ROOT" ls-files -co --exclude-standard -- scripts .ci | while read -r f; do
		case $f in
		*.sh) echo "$f" ;;
		*) ! head -n 1 "$ROOT/$f" | grep -qE '^#!.*(bash|sh)$' || echo "$f" ;;
		esac
	done
}

check_shellcheck()
{
	local -a files

	need shellcheck
	mapfile -t files < <(our_scripts)
	((${#files[@]} > 5))
	cd "$ROOT" || return
	shellcheck -x -P scripts "${files[@]}"
}

# Every script that a person runs explains itself, without doing anything
check_help()
{
	local f

	for f in "$ROOT"/scripts/*; do
		[[ -f $f && -x $f ]] || continue
		"$f" --help </dev/null >help
		[[ $(wc -l <help) -ge 5 ]]
		grep -q "scripts/${f##*/}" help || { echo "$f --help does not show its use"; return 1; }
	done
}

check_spdx()
{
	local f

	cd "$ROOT" || return
	git ls-files -co --exclude-standard | while read -r f; do
		[[ -f $f ]] || continue
		case $f in
		README | COPYING | LICENSES/* | MAINTAINERS | .gitignore | patches/* | results/* | \
			*/config | */settings | */.gitignore | *.kunitconfig) continue ;;
		esac
		head -n 2 "$f" | grep -q 'SPDX-License-Identifier:.*GPL-2.0' ||
			{ echo "$f has no SPDX line"; return 1; }
	done
}

# The entry in MAINTAINERS here is the one of the series, to the letter
check_maintainers()
{
	git -C "$KERNEL" show "$TIP:MAINTAINERS" |
		sed -n '/^ZSMALLOC COMPRESSED/,/^$/p' >series
	sed -n '/^ZSMALLOC COMPRESSED/,/^$/p' "$ROOT/MAINTAINERS" >ours
	[[ -s series ]]
	diff -u series ours
	# and each added file is covered by one of its F: lines
	git -C "$KERNEL" diff --name-only --diff-filter=A "pristine..$TIP" >added
	sed -n 's/^F:\t//p' series >patterns
	while read -r f; do
		covered "$f" || { echo "no F: line for $f"; return 1; }
	done <added
}

covered()
{
	local pattern

	while read -r pattern; do
		# shellcheck disable=SC2053 # F: lines are patterns
		if [[ $1 == $pattern || ($pattern == */ && $1 == "$pattern"*) ]]; then
			return 0
		fi
	done <patterns
	return 1
}

# README and the cover letter quote the tables in results/ to the letter, and the
# tables are of the series as it is
check_quoted_tables()
{
	local table line text n=0 code

	code=$(series_code)
	cd "$ROOT" || return
	for table in results/*/table.txt; do
		grep -qE "^series .* code $code\$" "${table%/*}/conditions.txt" ||
			{ echo "$table is not of this series (code $code): measure again"; return 1; }
		while read -r line; do
			for text in README "patches/linux-$SERIES_VERSION/0000-cover-letter.patch"; do
				grep -qF -- "$line" "$text" ||
					{ echo "$text does not have, from $table: $line"; return 1; }
			done
			n=$((n + 1))
		done <"$table"
		grep -qF "${table%/*}" README || { echo "README does not name ${table%/*}"; return 1; }
	done
	[[ $n -gt 3 ]]
}
