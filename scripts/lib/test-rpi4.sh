# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The check of scripts/rpi4. Part of scripts/test. What is measured here means nothing:
# four CPUs that take turns on fewer wait for locks that are held by one whose turn it is
# not.
#
# QEMU's raspi4b runs the same files as the board. It has no firmware, PCIe, Ethernet
# and watchdog; the check does what config.txt asks of the firmware. QEMU takes PCIe,
# Ethernet, random numbers and temperature out of the device tree by itself.

# The card of the emulated board: a partition at 1 MB, as cards have it
CARD_MB=256

make_card()
{
	local fat=card.img@@1M

	rm -f card.img
	truncate -s "${CARD_MB}M" card.img
	echo 'start=2048, type=c' | /usr/sbin/sfdisk -q --label dos card.img
	/usr/sbin/mkfs.vfat -F 32 --offset 2048 card.img $(((CARD_MB - 1) * 1024)) >/dev/null
	mcopy -s -i "$fat" "$1"/* ::
}

# from_card FILE [TO]: a file of the card, on stdout or as TO
from_card()
{
	mcopy -n -o -i card.img@@1M "::$1" "${2:--}"
}

# config_lines_of FILE: a config.txt with what it includes, for a Pi 4
config_lines_of()
{
	local line filter=all

	from_card "$1" | tr -d '\r' | while read -r line; do
		case $line in
		'#'*) ;;
		\[*\]) filter=${line//[\[\]]/} ;;
		'include '*) [[ $filter != all && $filter != pi4 ]] || config_lines_of "${line#include }" ;;
		?*) [[ $filter != all && $filter != pi4 ]] || echo "$line" ;;
		esac
	done
}

# config_value NAME: the last one counts
config_value()
{
	config_lines_of config.txt | sed -n "s/^$1[= ]//p" | tail -n 1
}

# emulate_dtb: what QEMU's board has otherwise.
#
# Its card is at the controller that the board has for Wi-Fi; emmc2, where the board has
# the card, is there without one. The driver is the same.
#
# The console is the UART that the board has for Bluetooth. The one that the board has on
# the header works until it is opened: QEMU took which bit enables which interrupt from a
# data sheet with a mistake there, and an interrupt never ends.
emulate_dtb()
{
	local card=/soc/mmc@7e300000

	fdtput -r dtb /soc/serial@7e201000/bluetooth
	fdtput -t s dtb /chosen stdout-path serial0:115200n8
	# it restarts the machine at once, when started
	fdtput dtb /chosen no-watchdog

	fdtput -d dtb $card mmc-pwrseq non-removable pinctrl-names pinctrl-0
	fdtput -r dtb $card/wifi@1
	fdtput -t s dtb /emmc2-bus@fe000000/mmc@7e340000 status disabled
}

# power_on LOG [UNTIL]: what the board does once it has power, until it restarts or
# powers off; or until the console has UNTIL, where power is lost
power_on()
{
	local log=$1 until=${2-} prefix file pid child status=0 n

	prefix=$(config_value os_prefix)
	[[ $prefix == base/ || $prefix == series/ ]] || { echo "config.txt has os_prefix='$prefix'"; return 1; }
	rm -f Image dtb initramfs cmdline
	from_card "$prefix$(config_value kernel)" Image
	from_card "$prefix$(config_value device_tree)" dtb
	file=$(config_value initramfs)
	[[ $file == *' followkernel' ]]
	from_card "$prefix${file% followkernel}" initramfs
	from_card "$prefix$(config_value cmdline)" cmdline
	[[ $(wc -l <cmdline) == 1 ]]
	emulate_dtb
	echo "power on: $prefix"

	# shellcheck disable=SC2086 # options
	QEMU_MODULE_DIR=$BUILD/qemu/usr/lib/x86_64-linux-gnu/qemu \
	timeout --foreground -k 5 "${POWER_ON_SECONDS:-600}" "$QEMU_PLUGINS" $QEMU_DATA -M raspi4b \
		-display none -monitor none -serial stdio -no-reboot \
		-kernel Image -dtb dtb -initrd initramfs -append "$(<cmdline)" \
		-drive if=sd,format=raw,file=card.img >"$log" 2>&1 </dev/null &
	pid=$!
	if [[ -n $until ]]; then
		for ((n = 0; n < 1200; n++)); do
			! grep -q "$until" "$log" || break
			[[ -n $(jobs -rp) ]] || { tail -n 40 "$log"; echo "it ended, without '$until'"; return 1; }
			sleep 0.1
		done
		# QEMU, not only timeout, which waits for it
		child=$(<"/proc/$pid/task/$pid/children")
		kill -KILL "${child% }"
		wait "$pid" || true
		grep -q "$until" "$log"
		return
	fi
	wait "$pid" || status=$?
	# QEMU takes a moment to switch off. If the kernel still runs then, the task that
	# asked for it ends with interrupts off, and the kernel warns of that
	sed -i 's/\r$//; /^reboot: Power down$/,$ { /^WARNING: .* at do_exit+.*: poweroff\//,$d }' "$log"
	((status == 0)) || { tail -n 40 "$log"; echo "no restart and no power-off: $status"; return 1; }
}

check_rpi4()
{
	local rpi4=$ROOT/scripts/rpi4 n f finished=''

	tested_code >of
	need mtools dosfstools fdisk device-tree-compiler
	need_qemu_plugins rpi4

	refuses 'name a folder' nowhere "$rpi4"
	refuses "not '0'" nowhere "$rpi4" --rounds 0 nowhere
	mkdir other
	touch other/precious
	refuses 'not of this script' other "$rpi4" --force other

	"$rpi4" --size 16 --rounds 1 --repeats 1 card
	[[ ! -e other/rpi4.txt && -s card/start4.elf && -s card/fixup4.dat ]]
	"$rpi4" --size 16 --rounds 1 --repeats 1 card 2>again
	grep -q 'card is up to date' again
	refuses 'give --force' card "$rpi4" --size 16 --rounds 2 --repeats 1 card

	make_card card
	# Power is lost while the first step runs, which so has to be done again
	power_on lost.log 'rpi4: step tests-base'
	for ((n = 1; n <= 6; n++)); do
		power_on "boot-$n.log"
		never kernel_reports "boot-$n.log"
		if from_card finished.txt finished.txt 2>/dev/null; then
			finished=$n
			break
		fi
	done
	cat "boot-$n.log"
	[[ -n $finished ]] || { echo "not finished after $n starts"; return 1; }
	((finished == 4)) || { echo "$finished starts, not 4"; return 1; }

	mcopy -s -n -i card.img@@1M ::results .
	cat finished.txt results/001/starts.txt
	# once by what was interrupted, and once for each of four steps; and no detours
	[[ $(awk '{ print $1, $4 }' results/001/starts.txt | tr '\n' ',') == \
		'tests-base base,tests-base base,tests-series series,1-base base,1-series series,' ]]
	for f in tests-base tests-series 1-base 1-series; do
		grep -qx '# rpi4: status=0' "results/001/$f.txt" || { cat "results/001/$f.txt"; return 1; }
		never grep -E '^ *not ok ' "results/001/$f.txt"
	done
	for f in zsmalloc_obj zsmalloc; do
		grep -q "^ok [0-9]* $f\$" results/001/tests-series.txt
	done
	for f in munmap 'free again'; do
		for n in 1 2 4; do
			grep -qE "^$f, $n +[0-9.]+ +[0-9.]+ +[0-9.]+\$" finished.txt
		done
	done
	grep -q '^tests on series: [1-9][0-9]* passed, 0 failed, [0-9]* skipped$' finished.txt
	cmp <(head -n -2 finished.txt) results/001/table.txt
	grep '^tests on ' finished.txt >totals
	cat results/001/tests-*.txt >tests.log
	tap_cases tests.log >cases

	# It has ended: with power again it shows what there is, and does nothing
	power_on ended.log
	grep -q '^munmap, 4 ' ended.log
	never grep 'rpi4: step' ended.log
	# Without that file it measures again, and keeps what it has
	mdel -i card.img@@1M ::finished.txt
	power_on lost.log 'rpi4: step tests-base of results/002'
	mcopy -s -n -i card.img@@1M ::results/001 kept
	diff -r results/001 kept
}
