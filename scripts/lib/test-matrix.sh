# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The checks of scripts/test --arch: the series on every architecture and variant of
# the kernel, and the table of what came out. Needs test-kernels.sh.

# Names, and seconds that a boot may take. The configuration has the same name, but
# for x86-64, where it is "user".
MATRIX=(x86-64:900 i386:900 arm64-4k:1200 arm64-16k:1200 arm64-64k:1200 arm:1200
	riscv64:1500 s390x:1500 um:600 um-nosmp:600
	x86-64-nocompaction:900 x86-64-nosmp:900 x86-64-modules:900 x86-64-chain4:900
	x86-64-chain16:900 x86-64-rt:900 x86-64-nomemcg:900 x86-64-clang:900
	kasan:1800 kcsan:3600)

# What --arch has beside them: checks of their own, too long for scripts/test alone
# shellcheck disable=SC2034
MATRIX_OTHERS=(upstream rpi4)

# matrix_names: of the kernels
matrix_names()
{
	printf '%s\n' "${MATRIX[@]%:*}"
}

# matrix_config NAME
matrix_config()
{
	case $1 in
	kasan) echo debug ;;
	*) echo "${1/#x86-64/user}" ;;
	esac
}

# check_arch NAME: the kernel boots and passes the KUnit cases, the selftests and, for
# some seconds, the stress test
check_arch()
{
	local config entry
	local -x TIMEOUT STRESS=10 CMDLINE='' MEM=${MEM-}

	config=$(matrix_config "$1")
	for entry in "${MATRIX[@]}"; do
		[[ ${entry%:*} != "$1" ]] || TIMEOUT=${entry#*:}
	done
	tested_code >of
	selftests "$TIP" "$config"
	kernel_image "$config" "$TIP"
	toolchain "$config" | sed -n 1p >compiler
	case $1 in
	kasan) STRESS=60 MEM=800M CMDLINE=$PATTERNS ;;
	kcsan) STRESS=60 ;;
	esac
	check_boot "$config" 16
}

# matrix_result DIR: of the folder of a check
matrix_result()
{
	if [[ $(<"$1/status") == 0 ]]; then
		echo passed
	else
		echo FAILED
	fi
}

# matrix_row DIR NAME: a line of the table, of the folder of a check
matrix_row()
{
	local log=$1/boot.log

	[[ -e $log ]] || log=/dev/null
	awk -v name="$2" -v result="$(matrix_result "$1")" -v compiler="$(cat "$1/compiler" 2>/dev/null)" '
		/^zsmalloc-guest: kunit/ { part = "kunit" }
		/^zsmalloc-guest: selftests/ { part = "self" }
		# the KUnit suites have a result of their own
		/^ *ok [0-9]+ / && !/^ok [0-9]+ zsmalloc/ { n[part, / # SKIP/ ? "skipped" : "passed"]++ }
		/^ *not ok [0-9]+ / { n[part, "failed"]++ }
		/^# zsmalloc-stress: / { for (i = 3; i <= NF; i++) if (split($i, kv, "=") == 2) total[kv[1]] += kv[2] }
		function counts(part) {
			return (n[part, "passed"] + 0) "/" (n[part, "failed"] + 0) "/" (n[part, "skipped"] + 0)
		}
		END {
			# gcc (Debian 12.2.0-14) 12.2.0, and clang in its own way
			gsub(/\([^)]*\) */, "", compiler)
			sub(/^(Debian )?/, "", compiler)
			printf "%s|%s|%s|%s|%s|%s|%s\n", name, result, counts("kunit"), counts("self"),
				total["ops"] + 0, total["pages_verified"] + 0, compiler
		}' "$log"
}

# tested_code: a name for what a boot depends on
tested_code()
{
	echo "$(kernel_code "$TIP") $(git -C "$KERNEL" rev-parse "$TIP:tools/testing/selftests/zsmalloc")"
}

# matrix_done NAME...: which of these checks of the matrix this build folder has run with
# the series as it is
matrix_done()
{
	local name of

	of=$(tested_code)
	for name in "$@"; do
		if [[ -e $LOGS/arch-$name/status && $(cat "$LOGS/arch-$name/of" 2>/dev/null) == "$of" ]]; then
			echo "$name"
		fi
	done
}

# matrix_table: what came out of all checks of the matrix that were run, with what
# they skipped, and why
matrix_table()
{
	local name kernels others

	# shellcheck disable=SC2046 # names
	mapfile -t kernels < <(matrix_done $(matrix_names))
	mapfile -t others < <(matrix_done "${MATRIX_OTHERS[@]}")
	stand
	qemu-system-x86_64 --version 2>/dev/null | sed -n 1p
	echo
	{
		echo 'kernel|result|KUnit|selftests|stress: operations|pages verified|compiler'
		for name in "${kernels[@]}"; do
			matrix_row "$LOGS/arch-$name" "$name"
		done
	} | column -t -s '|'
	echo
	echo 'KUnit and selftests: cases passed/failed/skipped. Skipped, and why:'
	for name in "${kernels[@]}"; do
		[[ -e $LOGS/arch-$name/boot.log ]] || continue
		# KUnit gives no reason where it skips all parameters of a case
		sed -n "s/# SKIP *$/# SKIP all parameters of a case/
			s/^ *ok [0-9]* [^#]*# SKIP *\([^ ].*\)/$name|\1/p" "$LOGS/arch-$name/boot.log"
	done | sort | uniq -c | awk -F '|' '
		{ sub(/^ */, "", $1); split($1, a, " "); why[$2] = why[$2] " " a[2] " (" a[1] ")" }
		END { for (w in why) print "  " w ":" why[w] }' | sort
	if [[ " ${kernels[*]} " == *" kcsan "* && -e $LOGS/arch-kcsan/boot.log.ours ]]; then
		echo
		kcsan_counts "$LOGS/arch-kcsan/boot.log"
	fi
	for name in "${others[@]}"; do
		echo
		echo "$name: $(matrix_result "$LOGS/arch-$name")"
		[[ ! -e $LOGS/arch-$name/totals ]] || sed 's/^/  /' "$LOGS/arch-$name/totals"
	done
}
