# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Checks that compile or boot kernels. Part of scripts/test, and for scripts/mutate.

# never COMMAND...: the command, a grep, finds nothing. It fails if there is
# something, with what it printed, and if the search itself went wrong.
never()
{
	local out status=0

	out=$("$@") || status=$?
	[[ $status != 1 ]] || return 0
	printf 'should not be there, or was not searched for (%s):\n%s\n' "$*" "$out"
	return 1
}

# changed_sources FROM TO: C files of the kernel that differ
changed_sources()
{
	git -C "$KERNEL" diff --name-only --diff-filter=d "$1" "$2" -- '*.c' ':!tools' ':!arch'
}

# compile CONFIG COMMIT [OPTION...]: the series' C files as objects, with the
# configuration CONFIG; fails on any warning
compile()
{
	local config=$1 commit=$2
	local -a objects

	shift 2
	checkout "$commit"
	configure "$config"
	changed_sources pristine "$TIP" >sources
	mapfile -t objects < <(while read -r f; do
		[[ ! -f $KERNEL/$f ]] || echo "${f%.c}.o"
	done <sources)
	((${#objects[@]}))
	kernel_make "$config" prepare modules_prepare >prepare.log 2>&1
	# objects of the last commit may be up to date, and then say nothing
	(cd "$BUILD/obj/$config-${KERNEL##*/}" && rm -f "${objects[@]}")
	kernel_make "$config" "$@" "${objects[@]}" >compile.log 2>&1 || { cat compile.log; return 1; }
	# The series changes a comment of mm/vmscan.c, whose tracepoints are too much for
	# sparse, with and without it
	sed '/include\/trace\/events\/vmscan\.h:.* too long token expansion$/d' compile.log >own.log
	never grep -iE 'warning|error|not available' own.log
	echo "${objects[*]}"
}

# build_begin: waits until no other check builds, as there is one work tree; until
# build_end, or until the check is done, no other does
build_begin()
{
	exec 8>"$LOGS/building"
	flock 8
}

build_end()
{
	exec 8>&-
}

# check_commit N: the Nth commit compiles with W=1 and sparse, has no kernel-doc
# warning that the base has not, compiles on 32 bit, and boots and passes on
# User-Mode Linux, if its kernel is another than that of the commits before
check_commit()
{
	local commit=$1 doc="$KERNEL/tools/docs/kernel-doc" f code

	build_begin
	compile debug "$commit" W=1 C=1 CHECK=sparse
	grep -q 'CHECK .*mm/zsmalloc.c' compile.log
	compile i386 "$commit"

	git -C "$KERNEL" diff --name-only pristine "$commit" -- mm lib >files
	while read -r f; do
		[[ $f == *.[ch] && -f $KERNEL/$f ]] || continue
		/usr/bin/python3 "$doc" -none "$KERNEL/$f" >doc.log 2>&1
		never grep -i warning doc.log
	done <files

	# a commit of documentation or selftests has the kernel of the one before
	code=$(kernel_code "$commit")
	if grep -qsFx "$code" "$LOGS/booted"; then
		echo "the same kernel was booted for another commit"
		return
	fi
	kernel_image um "$commit"
	echo "$code" >>"$LOGS/booted"
	build_end
	# the last commit's selftests: what the worker must not break, worked before it
	check_boot um 16
}

# check_peers: the designs in patches/peers apply, compile with W=1 on 64 and on
# 32 bit, and pass the KUnit cases that they bring, on User-Mode Linux, there on top of
# the series' first patch. They are for measuring, no more is asked of them.
check_peers()
{
	local peer first TIP=$TIP

	# its header of User-Mode Linux would have the whole kernel built anew
	first=$(git -C "$KERNEL" rev-list --reverse "pristine..$TIP" -- arch/um | sed -n 1p)
	for peer in "${DESIGNS[@]}"; do
		TIP=$(series_commits "$KERNEL" "$first" "peers/$peer")
		# what it changes, as changed_sources() looks at TIP
		compile debug "$TIP" W=1
		compile i386 "$TIP"
		kernel_image um "$TIP"
		MEM=$UM_MEM boot um 'cat /sys/kernel/debug/kunit/zsmalloc/results' "$peer.log" ||
			{ tail -n 60 "$peer.log"; return 1; }
		never kernel_reports "$peer.log"
		never grep -E '^ *not ok ' "$peer.log"
		grep -q '^ok [0-9]* zsmalloc$' "$peer.log" || { echo "no KUnit suite of $peer"; return 1; }
		cat "$peer.log" >>boot.log
	done
	tap_cases boot.log >cases
}

# guest_commands MB KUNIT TESTS: what a booted kernel runs: KUnit if KUNIT is not
# empty, and the selftests: "all" of them, "still", those that leave the pages of
# processes where they are, or "moving", the others. STRESS has the seconds of a stress
# test after them, if there is to be one.
guest_commands()
{
	local munmap='' deferred='' zswap

	# 4: it was skipped, there is no zswap
	zswap="munmap --zswap --size $1 --procs 2 -t at_once -t kill -t during_kill || [ \$? = 4 ] || status=1"
	case $3 in
	still) munmap='-T during_munmap' deferred='-T migration' ;;
	moving) munmap='-t during_munmap' deferred='-t migration' zswap='' ;;
	esac
	# On a kernel where nobody sleeps, as a 32-bit one without COMPAT_32BIT_TIME, tests
	# do not wait for what they look at
	cat <<-'EOF'
		status=0
		started=$(date +%s)
		sleep 1
		[ "$(date +%s)" -gt "$started" ] || { echo "not ok 1 sleep returns at once"; status=1; }
	EOF
	if [[ -n $2 ]]; then
		cat <<-'EOF'
			modprobe -q zsmalloc_kunit
			for suite in zsmalloc_obj zsmalloc; do
				results=/sys/kernel/debug/kunit/$suite/results
				[ -e $results ] || continue
				echo "zsmalloc-guest: kunit $suite"
				cat $results
			done
		EOF
	fi
	# zsmalloc is in use as long as its test is loaded
	cat <<-EOF
		modprobe -q -r zsmalloc_kunit
		echo "zsmalloc-guest: selftests"
		munmap --size $1 $munmap || status=1
		$zswap
		deferred $deferred || status=1
		# 4: it was skipped
		modules || [ \$? = 4 ] || status=1
	EOF
	[[ -z ${STRESS-} || $3 == still ]] || echo "stress --seconds $STRESS || status=1"
	echo '[ ! -e /sys/kernel/debug/kcsan ] || cat /sys/kernel/debug/kcsan'
	echo "exit \$status"
}

# check_boot CONFIG MB: boots IMAGE, runs everything; no test fails, and the kernel
# reports nothing.
#
# User-Mode Linux with two CPUs loses writes of a process when its pages are moved
# from the other CPU, without the series just as with it: flush_tlb_page() only
# marks the page there, and the process goes on with the old one until it next
# enters the kernel. So the tests that move pages have a boot with one CPU there.
check_boot()
{
	local config=$1 size=$2 suite

	if [[ $config == um* ]]; then
		boot_and_check "$config" boot.log "$(guest_commands "$size" kunit still)"
		if grep -q '^CONFIG_COMPACTION=y' "$IMAGE/config"; then
			CPUS=1 boot_and_check "$config" boot-1.log "$(guest_commands "$size" '' moving)"
			cat boot-1.log >>boot.log
		fi
	else
		boot_and_check "$config" boot.log "$(guest_commands "$size" kunit all)"
	fi
	if grep -q '^CONFIG_ZSMALLOC_KUNIT_TEST=' "$IMAGE/config"; then
		for suite in zsmalloc_obj zsmalloc; do
			grep -q "^ok [0-9]* $suite\$" boot.log || { echo "no KUnit suite $suite"; return 1; }
		done
	fi
	tap_cases boot.log >cases
}

# Memory of User-Mode Linux, 64000 pages. There a page of a process may need a mapping of
# its own on the host, which allows a process 65530 of these (vm.max_map_count). When one
# cannot be had, userspace() in arch/um looks for SIGTRAP where the stub says SIGSYS, and
# takes the page fault for a system call: the process dies, or waits for input for ever.
UM_MEM=250M

# boot_and_check CONFIG LOG COMMANDS
boot_and_check()
{
	local mem=1500M

	[[ $1 != um* ]] || mem=$UM_MEM
	# The page allocator complains about pages that are not as they have to be
	MEM=${MEM:-$mem} CMDLINE="check_pages=1 ${CMDLINE-}" boot "$1" "$3" "$2" || { tail -n 60 "$2"; return 1; }
	no_reports "$2"
	never grep -E '^ *not ok ' "$2"
	# munmap and deferred; modules may be skipped
	[[ $(grep -c '^# Totals: pass:[1-9].* xfail:' "$2") -ge 2 ]] ||
		{ echo "not every selftest ran"; return 1; }
	if [[ $1 == *modules ]]; then
		grep -q '^ok 1 modules removed after use' "$2" || { echo "modules were not tested"; return 1; }
	fi
}

# no_reports LOG: the kernel IMAGE has complained about nothing; of data races, about
# none in which zsmalloc has a part
no_reports()
{
	local log=$1

	if grep -q '^CONFIG_KCSAN=y' "$IMAGE/config"; then
		grep -qE '^setup_watchpoints: [1-9]' "$1" || { echo "KCSAN has looked at nothing"; return 1; }
		zsmalloc_functions >functions
		our_races functions "$1" >"$1.ours"
		kcsan_counts "$1"
		log=$1.ours
	fi
	never kernel_reports "$log"
}

# kcsan_counts LOG: how often KCSAN looked, and what it saw
kcsan_counts()
{
	echo "kcsan: $(sed -n 's/^setup_watchpoints: //p' "$1" | tail -n 1) looks for a data race;" \
		"found: $(grep -c 'BUG: KCSAN' "$1" || true)," \
		"of these in zsmalloc: $(grep -c 'BUG: KCSAN' "$1.ours" || true)"
}

# zsmalloc_functions: those of the series
zsmalloc_functions()
{
	git -C "$KERNEL" show "$TIP:mm/zsmalloc.c" | sed -nE 's/^([a-z][^(=;]*[ *])?([a-zA-Z0-9_]+)\(.*/\2/p' | sort -u
}

# our_races FUNCTIONS LOG: the log without KCSAN's reports of races where none of the
# three innermost functions on either side is one of FUNCTIONS
our_races()
{
	awk '
		NR == FNR { ours[$1] = 1; next }
		/^=====/ {
			if (!inside) {
				inside = 1; text = ""; race = found = 0
			} else {
				if (!race || found)
					printf "%s", text
				inside = 0
			}
			next
		}
		!inside { print; next }
		{ text = text $0 "\n" }
		/BUG: KCSAN/ { race = 1 }
		/^(read|write|race) / { depth = 0 }
		/^ [^ ]+\+0x/ {
			name = $1
			sub(/[.+].*/, "", name)
			if (++depth <= 3 && name in ours)
				found = 1
		}
		END { if (inside) printf "%s", text }' "$1" "$2"
}

# tap_cases LOG: one line, "passed skipped", of the KUnit and kselftest cases
tap_cases()
{
	awk '/^ *ok [0-9]+ / { if (/# SKIP/) s++; else if (!/^ok [0-9]+ zsmalloc/) p++ }
	     END { print p + 0, s + 0 }' "$1"
}

# lock_calls CONFIG COMMIT: the lock functions that zs_free() calls
lock_calls()
{
	checkout "$2"
	configure "$1"
	kernel_make "$1" prepare mm/zsmalloc.o >compile.log 2>&1
	objdump -dr --no-show-raw-insn "$BUILD/obj/$1-${KERNEL##*/}/mm/zsmalloc.o" |
		awk '/^[0-9a-f]+ <zs_free>:/ { on = 1; next } /^$/ { on = 0 } on' >zs_free
	[[ -s zs_free ]]
	grep -oE '_raw_(spin|read|write)_(try)?lock[a-z_]*' zs_free | sort | uniq -c | awk '{ print $2, $1 }'
}

# frees_under_lock: what zs_free(), as lock_calls left it, calls to free memory, or to put
# a zspage on the list, from taking class->lock to where that is released first, as the
# code lies in memory; 1 if that is nothing. (obj_free() frees no memory.)
frees_under_lock()
{
	awk '/_raw_spin_lock/ { held = 1 }
	     /_raw_spin_unlock/ { held = 0 }
	     held && !/<obj_free>/ && /<[a-z_]*(free|put)[a-z_]*>|R_[A-Z0-9_]+[ \t]+[a-z_]*(free|put)/ {
		print
		found = 1
	     }
	     END { exit !found }' zs_free
}

# On 64 bit zs_free() itself takes class->lock, once, and no other, and frees nothing with
# it held; on 32 bit it takes pool->lock as well
check_free_path()
{
	lock_calls user pristine >base
	grep -qx '_raw_read_lock 1' base
	lock_calls user "$TIP" >series
	printf '_raw_spin_lock 1\n' | diff - series
	grep -q kmem_cache_free zs_free
	never frees_under_lock
	lock_calls i386 "$TIP" >series-32
	printf '_raw_read_lock 1\n_raw_spin_lock 1\n' | diff - series-32
}

# Neither a zspage nor a handle grows. (Objects: a KUnit case has the size classes.) And
# what changes under class->lock in a zspage is apart from what is read without it:
# only --arch kcsan would notice.
check_sizes()
{
	local config base series

	for config in user i386; do
		base=$(struct_size "$config" pristine zspage)
		series=$(struct_size "$config" "$TIP" zspage)
		echo "$config: struct zspage has $base bytes, with the series $series"
		((series > 0 && series <= base))
		(($(struct_size "$config" "$TIP" zspage fullness) == 1))
	done
	for commit in pristine "$TIP"; do
		git -C "$KERNEL" grep -h '^#define ZS_HANDLE_SIZE' "$commit" -- mm >"handle-$commit"
		[[ -s handle-$commit ]]
	done
	cmp handle-pristine "handle-$TIP"
}

check_user()
{
	kernel_image user "$TIP"
	check_boot user 32
}

# zsmalloc and zram as modules
check_modules()
{
	build_begin
	kernel_image um-modules "$TIP"
	build_end
	check_boot um-modules 16
}

# The arms of #ifdef CONFIG_COMPACTION that no other kernel here has
check_nocompaction()
{
	build_begin
	kernel_image um-nocompaction "$TIP"
	build_end
	check_boot um-nocompaction 16
}

check_debug()
{
	kernel_image debug "$TIP"
	# Emulated, with KASAN: the slowest. Little memory is filled sooner.
	TIMEOUT=1500 MEM=800M check_boot debug 16
}

# The stress test: native with one CPU (see check_boot), with writeback; and emulated
# with two, KASAN, lockdep, patterns in free objects of zsmalloc's slabs and in free
# pages, and allocations that fail
check_stress()
{
	kernel_image um-writeback "$TIP"
	CPUS=1 MEM=$UM_MEM stress um-writeback writeback.log
	grep -qE ' writebacks=[1-9]' writeback.log || { echo "nothing was written back"; return 1; }
	kernel_image debug "$TIP"
	CMDLINE=$PATTERNS CPUS=2 MEM=800M stress debug debug.log
	grep -qE ' faults_injected=[1-9]' debug.log || { echo "no faults were injected"; return 1; }
	cat writeback.log debug.log >boot.log
	tap_cases boot.log >cases
	sed -n 's/^# \(seed .*\)/\1/p; s/^# zsmalloc-stress: /  /p' boot.log >totals
}

# What has the kernel put patterns into free objects of zsmalloc and into free pages
PATTERNS='slab_debug=FZPU,zspage,zs_handle page_poison=1'

# What the guest shows if its stress test does not end: what the kernel has said, with the
# stacks of those who wait too long; memory; all stacks that the architecture has in
# /proc; and, last, who is there
STRESS_LATE='echo "zsmalloc-guest: the stress test is late"
dmesg | tail -n 400
cat /proc/meminfo /proc/swaps
grep -H . /proc/[0-9]*/stack
ps -o pid,ppid,stat,vsz,rss,comm'

# stress CONFIG LOG
stress()
{
	TIMEOUT=$((STRESS_SECONDS + 1200)) CMDLINE="kunit.enable=0 check_pages=1 ${CMDLINE-}" \
		boot "$1" "(sleep $((STRESS_SECONDS + 600)); $STRESS_LATE) &
stress --seconds $STRESS_SECONDS --seed $STRESS_SEED" "$2" ||
		{ tail -n 60 "$2"; return 1; }
	no_reports "$2"
	never grep -E '^ *not ok ' "$2"
	grep -q '^# Totals: pass:3 fail:0 ' "$2" || { echo "the stress test did not end"; return 1; }
}

# The kernel's own runner, with the .kunitconfig of the series. um.config beside it
# makes it the kernel that is there already, so that little is to be built.
check_kunit_py()
{
	local python=/usr/bin/python3 runner=tools/testing/kunit/kunit.py here=$PWD

	checkout "$TIP"
	need_kernel_build
	# by itself it must be enough for kunit.py
	(cd "$KERNEL" && $python $runner config --kunitconfig="$KUNITCONFIG" --build_dir="$here/alone") >config.log 2>&1 ||
		{ cat config.log; return 1; }
	config_text um >um.kunitconfig
	(cd "$KERNEL" && $python $runner run --jobs "$JOBS" --kunitconfig="$KUNITCONFIG" \
		--kunitconfig="$here/um.kunitconfig" \
		--build_dir="$BUILD/obj/um-${KERNEL##*/}") >kunit.log 2>&1 ||
		{ tail -n 40 kunit.log; return 1; }
	grep -E 'Testing complete. Ran [1-9]' kunit.log
	never grep -E 'Testing complete.*(failed|crashed|errors)' kunit.log
}
KUNITCONFIG=lib/tests/zsmalloc.kunitconfig

# A bug of the kernel must show: a log with one has to be found wanting
check_reports()
{
	local text

	for text in 'WARNING: CPU: 0 PID: 1 at mm/zsmalloc.c:1' 'BUG: KASAN: slab-use-after-free in zs_free' \
		'WARNING: possible circular locking dependency detected' \
		'unreferenced object 0xffff888001234567 (size 8):' 'Kernel panic - not syncing' \
		'list_del corruption' 'BUG: sleeping function called from invalid context' \
		'refcount_t: underflow; use-after-free.' 'zsmalloc: 16 pages of empty zspages are lost' 'UBSAN: shift-out-of-bounds in mm/zsmalloc.c' \
		'zsmalloc: Class-32 fullness group 1 is not empty'; do
		echo "$text" >log
		kernel_reports log >/dev/null || { echo "missed: $text"; return 1; }
	done
	echo 'kasan: KernelAddressSanitizer initialized (generic)' >log
	never kernel_reports log
	# of two data races, one is of zsmalloc, behind something that it calls
	cat >log <<-'EOF'
		==================================================================
		BUG: KCSAN: data-race in tick_do_update / tick_nohz

		write to 0xffff88807d (marked) of 8 bytes by task 1 on cpu 0:
		 tick_do_update+0x10/0x20
		 other+0x10/0x20

		read to 0xffff88807d of 8 bytes by interrupt on cpu 1:
		 tick_nohz+0x10/0x20
		==================================================================
		between
		==================================================================
		BUG: KCSAN: data-race in llist_add_batch / other

		write to 0xffff88807d of 8 bytes by task 1 on cpu 0:
		 llist_add_batch+0x10/0x20
		 zs_free.part.0+0x10/0x20

		read to 0xffff88807d of 8 bytes by task 2 on cpu 1:
		 other+0x10/0x20
		==================================================================
	EOF
	zsmalloc_functions >functions
	[[ $(our_races functions log | grep -E '^(between|BUG)') == $'between\nBUG: KCSAN: data-race in llist_add_batch / other' ]]
	# a log that is not there is not one without reports
	if never kernel_reports no-log; then
		return 1
	fi
}
