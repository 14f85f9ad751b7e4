# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Build kernels and the selftests, and boot them. Needs common.sh, source.sh.

CONFIGS=$ROOT/scripts/config
# The board that the configuration rpi4 is for
RPI4_DTB=broadcom/bcm2711-rpi-4-b.dtb

# config_text NAME: the fragment with what it includes; of several values of a
# symbol the last one counts
config_text()
{
	config_lines "$1" | tac | awk -F= '!/^CONFIG_/ || !seen[$1]++' | tac
}

config_lines()
{
	local line

	while read -r line; do
		if [[ $line == '# include '* ]]; then
			config_lines "$(basename "${line#\# include }" .config)"
		else
			printf '%s\n' "$line"
		fi
	done <"$CONFIGS/$1.config"
}

# config_arch CONFIG: its architecture, as the kernel names it
config_arch()
{
	case $1 in
	um*) echo um ;;
	i386*) echo i386 ;;
	arm64* | rpi4*) echo arm64 ;;
	arm*) echo arm ;;
	riscv64*) echo riscv ;;
	s390x*) echo s390 ;;
	*) echo x86_64 ;;
	esac
}

# debian_arch CONFIG: the same, as Debian names it, where it is not this machine's
debian_arch()
{
	case $(config_arch "$1") in
	i386) echo i386 ;;
	arm64) echo arm64 ;;
	arm) echo armhf ;;
	riscv) echo riscv64 ;;
	s390) echo s390x ;;
	esac
}

# cross CONFIG: the prefix of its compiler
cross()
{
	case $(config_arch "$1") in
	i386) echo i686-linux-gnu- ;;
	arm64) echo aarch64-linux-gnu- ;;
	arm) echo arm-linux-gnueabihf- ;;
	riscv) echo riscv64-linux-gnu- ;;
	s390) echo s390x-linux-gnu- ;;
	esac
}

# compiler CONFIG
compiler()
{
	case $1 in
	*-clang) echo clang-19 ;;
	*) echo "$(cross "$1")gcc" ;;
	esac
}

# need_cross CONFIG: the compiler of its architecture is there
need_cross()
{
	local prefix

	[[ $1 != *-clang ]] || need "$(compiler "$1")"
	prefix=$(cross "$1")
	prefix=${prefix%-}
	[[ -z $prefix ]] || need "gcc-$prefix" "libc6-dev-$(debian_arch "$1")-cross"
}

# kernel_make CONFIG TARGET...: make in the object folder of CONFIG, with KERNEL
# as it is checked out. A kernel does not know who built it and when: the same
# source gives the same kernel.
kernel_make()
{
	local config=$1
	local -x KBUILD_BUILD_USER=zsmalloc KBUILD_BUILD_HOST=build KBUILD_BUILD_VERSION=1
	local -x KBUILD_BUILD_TIMESTAMP='2026-01-01 00:00:00 UTC'

	shift
	make -C "$KERNEL" -j"$JOBS" ARCH="$(config_arch "$config")" CROSS_COMPILE="$(cross "$config")" \
		CC="$(compiler "$config")" O="$BUILD/obj/$config-${KERNEL##*/}" "$@"
}

# checkout COMMIT: KERNEL's work tree; only files that differ are touched, so that
# make rebuilds little
checkout()
{
	git -C "$KERNEL" checkout -q --detach "$1"
}

# configure CONFIG: the fragment on top of allnoconfig; that of um with defaults
# for the rest, as kunit.py does it. A symbol that the kernel has and that did not
# get the value asked for is an error.
configure()
{
	local config=$1 obj=$BUILD/obj/$1-${KERNEL##*/} frag line sym

	need_cross "$config"
	mkdir -p "$obj"
	frag=$obj/fragment
	config_text "$config" >"$frag"
	if [[ $config == um* ]]; then
		cp "$frag" "$obj/.config"
		kernel_make "$config" olddefconfig
	else
		kernel_make "$config" KCONFIG_ALLCONFIG="$frag" allnoconfig
	fi >"$obj/config.log" 2>&1 || die_log "$obj/config.log" "$config: no configuration"
	while read -r line; do
		[[ $line == CONFIG_*=* ]] || continue
		sym=${line%%=*}
		if [[ $line == *=n ]]; then
			! grep -q "^$sym=" "$obj/.config" || die "$config: $sym is on"
		elif ! grep -qFx "$line" "$obj/.config"; then
			# the base kernel does not know the symbols of the series
			! git -C "$KERNEL" grep -qE "^(menu)?config ${sym#CONFIG_}\$" -- '*Kconfig*' ||
				die "$config: wanted $line, got $(grep "${sym}[= ]" "$obj/.config" || echo nothing)"
		fi
	done <"$frag"
}

# toolchain [CONFIG]: what else decides what a build gives
toolchain()
{
	local prefix='' cc=gcc

	[[ -z ${1-} ]] || { prefix=$(cross "$1") cc=$(compiler "$1"); }
	"$cc" --version | sed -n 1p
	"${prefix}ld" --version | sed -n 1p
}

# kernel_code COMMIT: a name for all that a kernel is built from
kernel_code()
{
	git -C "$KERNEL" ls-tree -r "$1" | grep -vP '\t(Documentation/|tools/testing/|MAINTAINERS$)' |
		sha256sum | cut -c1-16
}

# kernel_image CONFIG COMMIT: builds KERNEL at COMMIT with CONFIG, and sets IMAGE
# to a folder with "kernel", and "root/" with the modules. Built once: another source tree,
# configuration or compiler is another folder.
kernel_image()
{
	local config=$1 commit=$2 obj log code targets file

	need_cross "$config"
	code=$(kernel_code "$commit")
	IMAGE=$BUILD/kernels/$config-$(key "$code" "$(config_text "$config")" "$(toolchain "$config")")
	[[ -d $IMAGE/root ]] && return

	need_kernel_build
	checkout "$commit"
	configure "$config"
	obj=$BUILD/obj/$config-${KERNEL##*/}
	log=$obj/build.log
	case $(config_arch "$config") in
	um) targets=linux file=linux ;;
	arm) targets=zImage file=arch/arm/boot/zImage ;;
	arm64 | riscv) targets=Image file=arch/$(config_arch "$config")/boot/Image ;;
	s390) targets=bzImage file=arch/s390/boot/bzImage ;;
	*) targets=bzImage file=arch/x86/boot/bzImage ;;
	esac
	grep -q '^CONFIG_MODULES=y' "$obj/.config" && targets+=' modules'
	# First, as modules is looked for at the end
	[[ $config != rpi4* ]] || targets="$RPI4_DTB $targets"
	say "building $config kernel: $(git -C "$KERNEL" log -1 --format=%s "$commit")"
	# shellcheck disable=SC2086
	kernel_make "$config" $targets >"$log" 2>&1 || die_log "$log" "the $config kernel does not build"
	if [[ $file == arch/x86/boot/bzImage ]]; then
		# A compiler cache may take the compressed kernel for an older one
		bash "$KERNEL/scripts/extract-vmlinux" "$obj/$file" 2>/dev/null |
			cmp -s - "$obj/arch/x86/boot/compressed/vmlinux.bin" ||
			die "$obj/$file is not of this kernel; try again with CCACHE_DISABLE=1"
	fi
	rm -rf "$IMAGE.new"
	mkdir -p "$IMAGE.new/root"
	cp "$obj/$file" "$IMAGE.new/kernel"
	cp "$obj/.config" "$IMAGE.new/config"
	cp "$obj/System.map" "$IMAGE.new/"
	[[ $config != rpi4* ]] || cp "$obj/arch/arm64/boot/dts/$RPI4_DTB" "$IMAGE.new/"
	if [[ $targets == *modules ]]; then
		kernel_make "$config" INSTALL_MOD_PATH="$IMAGE.new/root" INSTALL_MOD_STRIP=1 \
			modules_install >>"$log" 2>&1 || die_log "$log" "the modules can't be installed"
	fi
	rm -rf "$IMAGE"
	mv "$IMAGE.new" "$IMAGE"
}

# struct_size CONFIG COMMIT NAME [MEMBER]: bytes of a struct of mm/zsmalloc.c, or of a
# member, which must not be a bitfield. What the compiler gets is compiled with a line
# more. Done once, as kernel_image.
struct_size()
{
	local config=$1 obj=$BUILD/obj/$1-${KERNEL##*/} bits='' size
	local out=$obj/struct-size tree file

	need_cross "$config"
	tree=$(git -C "$KERNEL" rev-parse "$2^{tree}") || return
	file=$BUILD/sizes/$(key "$3" "${4-}" "$tree" "$(config_text "$config")" "$(toolchain "$config")")
	if [[ -s $file ]]; then
		cat "$file"
		return
	fi
	case $(config_arch "$config") in
	i386) bits=-m32 ;;
	um | x86_64) bits=-m64 ;;
	esac
	need_kernel_build
	checkout "$2" || return
	configure "$config"
	kernel_make "$config" prepare mm/zsmalloc.i >"$out.log" 2>&1 || die_log "$out.log" "no mm/zsmalloc.i"
	{
		cat "$obj/mm/zsmalloc.i"
		echo "char struct_bytes[sizeof(((struct $3 *)0)[0]${4:+.$4})];"
	} >"$out.i"
	# shellcheck disable=SC2086 # no option is none
	"$(cross "$config")gcc" $bits -std=gnu11 -fms-extensions -funsigned-char -fshort-wchar -fno-pic -O2 -w \
		-c -o "$out.o" "$out.i" || die "the size of struct $3${4:+, $4} does not compile with $config"
	size=$(nm -S "$out.o" | awk '$4 == "struct_bytes" { print $2 }')
	[[ -n $size ]] || die "no size of struct $3${4:+, $4} with $config"
	mkdir -p "$BUILD/sizes"
	echo "$((16#$size))" | tee "$file"
}

# selftests COMMIT [CONFIG]: builds the selftests of that commit, statically, for this
# machine or for that of CONFIG, and sets SELFTESTS to the folder with the programs
selftests()
{
	local commit=$1 dir=tools/testing/selftests/zsmalloc src log prefix=''

	if [[ -n ${2-} ]]; then
		need_cross "$2"
		prefix=$(cross "$2")
	fi
	SELFTESTS=$BUILD/selftests/$(key "$(toolchain "${2-}")" "$(git -C "$KERNEL" rev-parse "$commit:$dir" \
		"$commit:${dir%/*}/"{kselftest_harness.h,kselftest.h,lib.mk,Makefile})")
	[[ -d $SELFTESTS ]] && return
	need_kernel_build
	checkout "$commit"
	say "building the selftests"
	src=$KERNEL/$dir log=$BUILD/selftests.log
	rm -rf "$SELFTESTS.new"
	mkdir -p "$SELFTESTS.new"
	make -C "$KERNEL/tools/testing/selftests" TARGETS=zsmalloc O="$SELFTESTS.new/obj" \
		CROSS_COMPILE="$prefix" USERLDFLAGS=-static >"$log" 2>&1 || die_log "$log" "the selftests do not build"
	# The kernel's header casts every pointer that is compared, on 32 bit with a warning
	! grep -i warning "$log" | grep -v 'kselftest_harness.h:.*-Wpointer-to-int-cast' >&2 ||
		die "the selftests build with warnings"
	find "$SELFTESTS.new/obj" -type f -perm -u+x -path '*/zsmalloc/*' -exec cp -t "$SELFTESTS.new" {} +
	rm -rf "$SELFTESTS.new/obj"
	[[ -n $(ls "$SELFTESTS.new") ]] || die "the selftests built no program; see $log"
	[[ -z $(git -C "$KERNEL" status --porcelain -- "$src") ]] || die "the selftests' build left files in the source"
	mv "$SELFTESTS.new" "$SELFTESTS"
}

# need_busybox CONFIG: sets BUSYBOX to a static one for its architecture
need_busybox()
{
	local arch dir

	arch=$(debian_arch "$1")
	if [[ -z $arch ]]; then
		need busybox-static
		BUSYBOX=/bin/busybox
		return
	fi
	dir=$BUILD/busybox-$arch
	BUSYBOX=$dir/usr/bin/busybox
	[[ ! -x $BUSYBOX ]] || return 0
	say "fetching busybox for $arch"
	unpack_packages "$arch" "$dir" busybox-static
}

# initramfs CONFIG COMMANDS: busybox, the selftests, the modules of IMAGE, what is in
# the folder GUEST_FILES, and an init that runs the shell COMMANDS and powers off;
# sets INITRAMFS
initramfs()
{
	local config=$1 commands=$2 dir

	need cpio
	need_busybox "$config"
	dir=$(mktemp -d "$BUILD/initramfs.XXXXXX")
	mkdir -p "$dir"/{bin,dev,proc,sys,tmp}
	cp "$BUSYBOX" "$dir/bin/busybox"
	cp "$SELFTESTS"/* "$dir/bin/"
	cp -r --no-dereference "$IMAGE/root/." "$dir/"
	[[ -z ${GUEST_FILES-} ]] || cp -r "$GUEST_FILES/." "$dir/"
	cp "$ROOT/scripts/lib/guest-init" "$dir/init"
	printf '%s\n' "$commands" >"$dir/commands"
	INITRAMFS=$dir.cpio
	(cd "$dir" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet) >"$INITRAMFS"
	rm -r "$dir"
}

# boot_cleanup: what a boot that was stopped left
boot_cleanup()
{
	rm -rf "$BUILD"/initramfs.* "$BUILD/uml"
}

# tsc_khz: the rate of a guest's time stamp counter. A guest can't find it out:
# it would compare two clocks on CPUs that stop whenever the host has other work.
tsc_khz()
{
	# With -icount an instruction takes a nanosecond
	[[ ${QEMU_OPTIONS-} != *icount* ]] || { echo 1000000; return; }
	awk '/^cpu MHz/ { khz = int($4 * 1000); exit } END { print khz ? khz : 1000000 }' /proc/cpuinfo
}

# qemu_machine CONFIG: sets QEMU_NAME to the emulator for its architecture, MACHINE to
# options that say which machine, and CONSOLE to what the kernel has to know of it
qemu_machine()
{
	local package=qemu-system-misc cpu=cortex-a72

	MACHINE=(-M virt -serial stdio) CONSOLE=console=ttyAMA0
	case $(config_arch "$1") in
	arm64)
		# The processor of a Raspberry Pi 4B; 16 KB pages need a newer one
		[[ $1 != *-16k ]] || cpu=max
		package=qemu-system-arm QEMU_NAME=qemu-system-aarch64
		MACHINE=(-M "virt,gic-version=2" -cpu "$cpu" -serial stdio)
		;;
	arm)
		package=qemu-system-arm QEMU_NAME=qemu-system-arm
		MACHINE=(-M virt -cpu cortex-a15 -serial stdio)
		;;
	riscv)
		QEMU_NAME=qemu-system-riscv64 CONSOLE=console=ttyS0
		;;
	s390)
		QEMU_NAME=qemu-system-s390x CONSOLE=''
		MACHINE=(-M s390-ccw-virtio -cpu max -chardev "stdio,id=c" -device "sclpconsole,chardev=c")
		;;
	*)
		# microvm: the one machine on which a kernel without ACPI has all CPUs
		package=qemu-system-x86 QEMU_NAME=qemu-system-x86_64 cpu=max
		# identify_cpu() clears the features of the boot CPU and reads them anew, with
		# interrupts on. In an interrupt meanwhile, KASAN takes five levels of page
		# tables for four, and reports a wild-memory-access: have four always
		[[ $1 != debug* ]] || cpu=max,la57=off
		MACHINE=(-M "microvm,acpi=off,pic=on,pit=on,rtc=on,isa-serial=on" -cpu "$cpu" -serial stdio)
		CONSOLE="console=ttyS0 reboot=t tsc=reliable tsc_early_khz=$(tsc_khz)"
		;;
	esac
	need "$package"
}

# boot_qemu: of boot, whose variables it uses
boot_qemu()
{
	# shellcheck disable=SC2086,SC2154
	timeout --foreground -k 10 "$timeout" "${QEMU:-$QEMU_NAME}" -nodefaults -display none \
		"${MACHINE[@]}" -no-reboot -m "$mem" -smp "$cpus" \
		${QEMU_OPTIONS:--accel tcg,thread=multi} \
		-kernel "$IMAGE/kernel" -initrd "$INITRAMFS" \
		-append "$CONSOLE panic=-1 loglevel=5 ${CMDLINE-}" \
		>"$log" 2>&1 </dev/null || ended=$?
}

# boot CONFIG COMMANDS LOG: boots IMAGE, runs COMMANDS in it, and writes the
# console to LOG. Returns the status of the last command; 2 on a kernel that
# died or hung. MEM, CPUS, TIMEOUT, CMDLINE, QEMU and QEMU_OPTIONS say how.
boot()
{
	local config=$1 commands=$2 log=$3 status=0 ended=0
	local mem=${MEM:-2G} cpus=${CPUS:-2} timeout=${TIMEOUT:-900}

	initramfs "$config" "$commands"
	mkdir -p "$(dirname "$log")"
	if [[ $config == um* ]]; then
		# shellcheck disable=SC2086
		timeout --foreground -k 10 "$timeout" "$IMAGE/kernel" mem="$mem" initrd="$INITRAMFS" \
			uml_dir="$BUILD/uml" seccomp=on ncpus="$cpus" con=null con0=null,fd:1 panic=-1 \
			loglevel=5 ${CMDLINE-} >"$log" 2>&1 </dev/null || ended=$?
	else
		qemu_machine "$config"
		boot_qemu
		# On x86, TCG with threads can run the breakpoint of a static branch on one
		# CPU when the other has patched it, and the kernel knows nothing of it any
		# more. That is now and then, early on: boot again
		if grep -q '^Oops: int3' "$log" && ! grep -qE 'zsmalloc|\<z[st]_' "$log"; then
			mv "$log" "$log.int3"
			ended=0
			say "the emulator ran a breakpoint that was gone ($log.int3): booting again"
			boot_qemu
		fi
	fi
	rm -f "$INITRAMFS"
	sed -i 's/\r$//' "$log"
	# User-Mode Linux may well panic when timeout ends it
	((ended != 124 && ended != 137)) || echo "ended from outside, with $ended (the limit is $timeout s)" >>"$log"
	status=$(sed -n 's/^zsmalloc-guest: status=//p' "$log")
	return "${status:-2}"
}

# need_qemu_plugins CONFIG: sets QEMU_PLUGINS to a QEMU for the architecture of
# CONFIG whose plugins can read registers (10 or newer), and QEMU_DATA to options
# for it: the system's, or that of a newer release, unpacked in $BUILD/qemu
# shellcheck disable=SC2034 # used by scripts/profile
need_qemu_plugins()
{
	local dir=$BUILD/qemu version missing name

	case $(config_arch "$1") in
	arm64)
		need qemu-system-arm
		name=qemu-system-aarch64
		;;
	*)
		need qemu-system-x86
		name=qemu-system-x86_64
		;;
	esac
	QEMU_PLUGINS=$name QEMU_DATA=''
	version=$("$name" --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
	((version < 10)) || return 0

	if [[ ! -x $dir/usr/bin/$name ]]; then
		say "fetching QEMU 10 from the distribution"
		unpack_packages native "$dir" qemu-system-{x86,arm,common,data}/bookworm-backports
	fi
	missing=$(ldd "$dir/usr/bin/$name" | awk '/not found/ { print $1 }')
	[[ -z $missing ]] || die "QEMU 10 needs libraries: ${missing//$'\n'/ }"
	QEMU_PLUGINS=$dir/usr/bin/$name
	QEMU_DATA="-L $dir/usr/share/qemu"
}

# kernel_reports LOG: what the kernel complained about; as grep, fails with 1 if
# there is nothing
kernel_reports()
{
	grep -E -A 25 -e 'WARNING:' -e 'BUG:' -e 'INFO: (possible|task|rcu|trying|lockdep)' \
		-e 'Oops' -e 'general protection' -e 'Kernel panic' -e 'KASAN' -e 'KCSAN' \
		-e 'DEBUG_LOCKS_WARN_ON' -e 'ODEBUG' -e 'unreferenced object' -e 'Call Trace:' \
		-e 'list_(add|del) corruption' -e 'invoked oom-killer' \
		-e 'refcount_t:' -e 'UBSAN:' -e 'Unable to handle' -e 'soft lockup' \
		-e 'fullness group .* is not empty' -e 'pages of empty zspages are lost' "$1"
}
