# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The check upstream: what others wrote gives the same on the unpatched kernel and on
# the series. Part of scripts/test.

# What runs where (see guest-upstream). User-Mode Linux is native, but has one CPU
# here, and no huge pages; QEMU has two CPUs.
UPSTREAM_TESTS_UM='zram ext4 swap test_zswap cow guard-regions swapoff'
UPSTREAM_TESTS_USER='zram ext4 compaction swap test_zswap cow uffd-wp-mremap swapoff'

# The programs among the kernel's selftests for zswap and for compaction, and those
# that swap out what they then look at. Others of mm need NUMA nodes to move pages
# between, or, khugepaged, memory for 512 huge pages.
UPSTREAM_PROGRAMS=(cgroup/test_zswap mm/compaction_test mm/cow mm/guard-regions mm/uffd-wp-mremap)

# upstream_selftests: builds these programs of the base kernel, statically, and sets
# UPSTREAM to a folder with them and the scripts. From a copy: the makefile of mm
# writes into its folder.
upstream_selftests()
{
	local dir=tools/testing/selftests log=$BUILD/upstream.log new file
	local sources=(mm/gup_test.h tools/include "$dir"/{lib.mk,kselftest.h,kselftest_harness.h,kselftest,cgroup,clone3,mm,pidfd,x86,zram})

	UPSTREAM=$BUILD/upstream-$(key "${UPSTREAM_PROGRAMS[*]}" "$(toolchain)" "$(git -C "$KERNEL" rev-parse 'pristine^{tree}')")
	[[ -d $UPSTREAM ]] && return
	checkout pristine
	rm -rf "$BUILD"/upstream-*
	new=$UPSTREAM.new
	mkdir -p "$new"/{src,obj,mm,cgroup}
	git -C "$KERNEL" archive pristine "${sources[@]}" | tar -x -C "$new/src"
	{
		make -C "$KERNEL" -j"$JOBS" O="$new/obj" ARCH=x86_64 headers
		for file in "${UPSTREAM_PROGRAMS[@]}"; do
			make -C "$new/src/$dir/${file%/*}" ARCH=x86_64 OUTPUT="$new/${file%/*}" USERLDFLAGS=-static \
				KHDR_INCLUDES="-isystem $new/obj/usr/include" "$new/$file"
		done
	} >"$log" 2>&1 || { tail -n 40 "$log"; return 1; }
	cp -r "$new/src/$dir/zram" "$new/"
	rm -rf "$new/src" "$new/obj"
	mv "$new" "$UPSTREAM"
}

# Programs of this machine that the tests take, where busybox has none or another
HOST_PROGRAMS=(bash bc fio mkfs.ext4 fsck.ext4 fstrim mawk)

# upstream_files: sets GUEST_FILES to what the guests have besides: programs and
# libraries at their place, and the selftests
upstream_files()
{
	local name path

	need bash bc fio e2fsprogs util-linux mawk
	# shellcheck disable=SC2034 # used by boot
	GUEST_FILES=$PWD/files
	mkdir -p files/{bin,usr/bin}
	for name in "${HOST_PROGRAMS[@]}"; do
		path=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v "$name")
		cp -L "$path" files/usr/bin/
		ldd "$path" | grep -o '/[^ ]*' | xargs cp -L --parents -t files
	done
	ln -s /usr/bin/bash files/bin/bash
	ln -s mawk files/usr/bin/awk
	cp "$ROOT/scripts/lib/guest-upstream" files/bin/
	cp -rL "$UPSTREAM" files/upstream
}

# upstream_cases LOG: a line for each case: ok, not ok, or SKIP, and its name, and one
# for how each test ended
upstream_cases()
{
	awk -F '\t' '
		function put(result, what) { print result "\t" test ": " what }
		/^zsmalloc-guest: begin / { test = substr($0, 23); next }
		/^zsmalloc-guest: end / {
			status = $0
			sub(/.*status=/, "", status)
			put(status == 0 ? "ok" : status == 4 ? "SKIP" : "not ok",
			    status == 124 ? "ends in time" : "ends")
			test = ""
			next
		}
		test == "" { next }
		/^(not )?ok [0-9]+/ {
			result = /^not/ ? "not ok" : /# SKIP/ ? "SKIP" : "ok"
			sub(/^(not )?ok /, "")
			put(result, $0)
		}' "$1"
}

# upstream_required CONFIG: what has to be ok on both kernels; where others skip it, or
# it fails on base, a comparison says nothing. A line is how many cases there have to
# be, and a pattern of grep -E for their names.
upstream_required()
{
	cat <<-'EOF'
		2 zram\.sh: [0-9]+ zram0[12]$
		8 fio on ext4, (no)?discard: [0-9]+ write,
		8 fio on ext4, (no)?discard: [0-9]+ write again, compaction,
		8 fio on ext4, (no)?discard: [0-9]+ verify,
		8 fio on ext4, (no)?discard: [0-9]+ verify again,
		2 fio on ext4, (no)?discard: [0-9]+ what was removed is freed$
		2 fio on ext4, (no)?discard: [0-9]+ objects are moved$
		2 fio on ext4, (no)?discard: [0-9]+ the other files are as before$
		4 fio on ext4, (no)?discard: [0-9]+ fsck$
		8 test_zswap: [0-9]+ test_
		12 cow: .* with swapped out base page$
	EOF
	case $1 in
	um*)
		echo '60 guard-regions: '
		;;
	*)
		cat <<-'EOF'
			1 compaction_test: 1 check_compaction$
			4 fio on ext4 after compaction_test: [0-9]+ verify,
		EOF
		;;
	esac
}

# upstream_reports LOG: what the kernel complained about, as kernel_reports; not what a
# program says. An emulated CPU that got no memory for 10 s is slow, not wrong:
# test_zswap asks for half of it to be free.
upstream_reports()
{
	sed '/^# /d; /page allocation stall for/,/pages reserved$/d' "$1" >"$1.kernel"
	kernel_reports "$1.kernel"
}

# upstream_boot CONFIG IMAGE NAME TESTS: boots that kernel, runs TESTS, and writes
# NAME.cases
upstream_boot()
{
	local IMAGE=$2

	TIMEOUT=1500 MEM=700M boot "$1" "guest-upstream $4" "$3.log" || { tail -n 60 "$3.log"; return 1; }
	grep -qx 'zsmalloc-guest: all done' "$3.log" || { echo "not all tests ran"; return 1; }
	upstream_cases "$3.log" >"$3.cases"
}

# upstream_compare BASE SERIES: the cases of both, side by side; fails if they differ
upstream_compare()
{
	awk -F '\t' '
		NR == FNR { base[$2] = $1; name[++n] = $2; next }
		{ series[$2] = $1; if (!($2 in base)) name[++n] = $2 }
		function or_none(result) { return result == "" ? "none" : result }
		END {
			for (i = 1; i <= n; i++) {
				b = or_none(base[name[i]])
				s = or_none(series[name[i]])
				if (b != s)
					differ++
				printf "%s%-7s %-7s %s\n", b == s ? "" : "DIFFERENT: ", b, s, name[i]
			}
			exit differ > 0 || n == 0
		}' "$1" "$2"
}

# upstream_table CASES: how many of each test were ok, not ok, and skipped, and what
# was not ok
upstream_table()
{
	awk -F '\t' '
		{ test = $2; sub(/: .*/, "", test)
		  if (!(test in ok)) { name[++n] = test; ok[test] = bad[test] = skip[test] = 0 }
		  if ($1 == "ok") ok[test]++; else if ($1 == "SKIP") skip[test]++
		  else { bad[test]++; lines = lines "  not ok: " $2 "\n" } }
		END { for (i = 1; i <= n; i++)
			printf "  %-34s %4d ok %4d not ok %4d skipped\n", name[i], ok[name[i]], bad[name[i]], skip[name[i]]
		      printf "%s", lines }' "$1"
}

# check_upstream CONFIG
check_upstream()
{
	local config=$1 tests=$UPSTREAM_TESTS_USER base series boots=() pid failed='' n pattern
	local -x CPUS=2

	[[ $config != um* ]] || tests=$UPSTREAM_TESTS_UM CPUS=1
	tested_code >of
	need_kernel_build
	upstream_selftests
	upstream_files
	kernel_image "$config" pristine
	base=$IMAGE
	kernel_image "$config" "$TIP"
	series=$IMAGE
	upstream_boot "$config" "$base" base "$tests" &
	boots+=("$!")
	# beside each other where each has one CPU
	[[ $config == um* ]] || wait "$!"
	upstream_boot "$config" "$series" series "$tests" &
	boots+=("$!")
	# for both, so that none is left running
	for pid in "${boots[@]}"; do
		wait "$pid" || failed=1
	done
	[[ -z $failed ]]
	upstream_compare base.cases series.cases >both || { grep '^DIFFERENT' both; return 1; }
	cat both
	never upstream_reports base.log
	never upstream_reports series.log
	while read -r n pattern; do
		(($(grep -cE "^ok	$pattern" series.cases) >= n)) || { echo "not ok $n times: $pattern"; return 1; }
	done < <(upstream_required "$config")
	echo "base and series alike:" >totals
	upstream_table series.cases >>totals
	awk -F '\t' '{ n[$1]++ } END { print n["ok"] + 0, n["SKIP"] + 0 }' series.cases >cases
}
