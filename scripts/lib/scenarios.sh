# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What scripts/bench measures. scenario_NAME sets
#
#   SIZES, PROCS  what is measured if the user does not say
#   CONFIG        the configuration, for ARCH
#   MORE_MB       memory of the guest beside that of the processes, swapped out or not
#   LINE          a measurement is a line "# zsmalloc-LINE: procs=N size_mb=N key=value ..."
#   COLUMNS_      the other keys, for the CSV
#   UNIT, ROWS    lines of the table: title:column:scale:digits, and :more where more
#                 is better, :none where neither is. With a UNIT all are times in ns,
#                 which may be shown per page; without, the titles have the units
#
# prepare_NAME, if there is one, puts what the guest needs into GUEST_FILES, and
# guest_NAME SIZE PROCS FAILED prints the guest's commands for a measurement for each
# number in PROCS, with FAILED for one that did not succeed. check_NAME, if there is
# one, looks at the figures. Needs common.sh, kernel.sh.
# shellcheck disable=SC2034 # used by scripts/bench

SCENARIOS=(munmap kill zswap mixed build)

scenario_munmap()
{
	SIZES=256 PROCS=1,2,4 MORE_MB=512 LINE=munmap UNIT=ms
	[[ $ARCH == um ]] && CONFIG=um-user || CONFIG=user
	COLUMNS_=(pages munmap_ns munmap_min_ns munmap_max_ns freed_ns left_bytes)
	ROWS=(munmap:munmap_ns:1e6:1 'free again:freed_ns:1e6:1')
}

guest_munmap()
{
	echo "munmap --size $1 --procs $2 -t at_once || $3"
}

scenario_kill()
{
	scenario_munmap
	LINE='kill'
	COLUMNS_=(pages resident_ns freed_ns left_bytes)
	ROWS=('resident half:resident_ns:1e6:1' 'free again:freed_ns:1e6:1')
}

guest_kill()
{
	echo "munmap --size $1 --procs $2 -t kill || $3"
}

scenario_zswap()
{
	scenario_munmap
}

guest_zswap()
{
	# All is to find room; it is 20 otherwise
	echo 'echo 50 >/sys/module/zswap/parameters/max_pool_percent'
	echo "munmap --size $1 --procs $2 -t at_once --zswap || $3"
}

scenario_mixed()
{
	scenario_munmap
	PROCS=1,2 MORE_MB=1024 LINE=mixed UNIT=''
	[[ $ARCH == um ]] && CONFIG=um-programs || CONFIG=user-programs
	COLUMNS_=(pages munmap_ns iops write_p99_us read_p99_us)
	ROWS=('munmap, ms:munmap_ns:1e6:1' 'IOPS:iops:1:0:more' 'write p99, us:write_p99_us:1:0'
		'read p99, us:read_p99_us:1:0')
}

# The distribution's fio with its libraries
prepare_mixed()
{
	need fio
	cp /usr/bin/fio "$ROOT/scripts/lib/guest-mixed" "$GUEST_FILES/bin/"
	ldd /usr/bin/fio | grep -o '/[^ ]*' | xargs cp -L --parents -t "$GUEST_FILES"
}

guest_mixed()
{
	local procs

	for procs in ${2//,/ }; do
		echo "guest-mixed $1 $procs || $3"
	done
}

# With one CPU: User-Mode Linux loses writes of a process whose pages another CPU
# swaps out (see README)
scenario_build()
{
	SIZES=96 PROCS=2 MORE_MB=1024 LINE=build UNIT='' CPUS=1
	[[ $ARCH == um ]] || die "--scenario build is for --arch um: it runs the host's compiler"
	CONFIG=um-programs
	REPEATS=${REPEATS:-1}
	COLUMNS_=(real_s stored loaded written_back objects)
	ROWS=('real, s:real_s:1:1'
		'pages stored:stored:1:0:none' 'pages loaded:loaded:1:0:none' 'written back:written_back:1:0:none')
}

# Sets OBJECTS, a folder where a part of a kernel can be compiled by the commands in
# a file. Not by make: it starts many more processes, and that takes longer on
# User-Mode Linux than to compile.
prepare_build()
{
	local log=$BUILD/workload.log

	need_kernel_build
	checkout pristine
	OBJECTS=$BUILD/workload-$(key fs/proc/ "$(git -C "$KERNEL" rev-parse 'pristine^{tree}')" "$(config_text um)" "$(toolchain)")
	if [[ ! -d $OBJECTS ]]; then
		say "preparing what is to be compiled"
		rm -rf "$BUILD"/workload-*
		mkdir -p "$OBJECTS.new"
		config_text um >"$OBJECTS.new/.config"
		make -C "$KERNEL" -j"$JOBS" ARCH=um O="$OBJECTS.new" olddefconfig prepare fs/proc/ >"$log" 2>&1 ||
			die_log "$log" "the kernel to be compiled can't be prepared"
		find "$OBJECTS.new/fs" -name '.*.o.cmd' | sort |
			xargs sed -n 's/^savedcmd_[^ ]* := \(gcc .*\.c\) .*/\1/p' >"$OBJECTS.new/commands"
		[[ -s $OBJECTS.new/commands ]] || die "$log does not say how to compile"
		find "$OBJECTS.new" -name '*.[oa]' -delete
		mv -T "$OBJECTS.new" "$OBJECTS"
	fi
	cp "$ROOT/scripts/lib/guest-build" "$GUEST_FILES/bin/"
	truncate -s 4G "$WORK/swap"
	CMDLINE=ubd0=$WORK/swap
}

guest_build()
{
	local n

	for n in ${2//,/ }; do
		echo "guest-build $1 $n $OBJECTS || $3"
	done
}

# zswap worked hard, and what was compiled is the same in all measurements
check_build()
{
	rm -f "$WORK/swap"
	awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) col[$i] = i; next }
		$col["stored"] < $col["size_mb"] * 256 { print "run " $1 " of " $2 " stored only " $col["stored"] " pages in zswap: take a smaller --size"; exit 1 }
		{ n += !seen[$col["objects"]]++ }
		END { if (n > 1) print "not every build gave the same: kernels lose data" }' "$CSV" >"$WORK/wrong"
	[[ ! -s $WORK/wrong ]] || die "$(head -n 1 "$WORK/wrong") ($CSV)"
	rm "$WORK/wrong"
}
