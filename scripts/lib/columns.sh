# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Several kernels side by side, one column each: what scripts that measure share.
# Needs common.sh, source.sh, series.sh, kernel.sh.

# Other designs, the folders in patches/peers: Linux 7.2 with the patches in one of
# them instead of the series
mapfile -t DESIGNS < <(find "$ROOT/patches/peers" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)

# is_peer NAME
is_peer()
{
	[[ " ${DESIGNS[*]} " == *" $1 "* ]]
}

# What frees zspages later: in the peers, in the series, and in 7.2
WORKERS=(zs_free_deferred_work zs_free_handles_work free_pending_zspages async_free_zspage)

# kernel_worker IMAGE: the first of these that the kernel has
kernel_worker()
{
	local f

	for f in "${WORKERS[@]}"; do
		if grep -qE " [tT] $f(\.|\$)" "$1/System.map"; then
			echo "$f"
			return
		fi
	done
}

# swap_free KERNEL: what zram calls when a swap slot is freed
swap_free()
{
	[[ $1 == handle-queue ]] && echo zs_free_deferred || echo zs_free
}

# real_free KERNEL: what takes class->lock and frees an object
real_free()
{
	[[ $1 == percpu-queue ]] && echo zs_free_now || echo zs_free
}

# kernel_names LIST: sets NAMES to the kernels that the user wants as columns
kernel_names()
{
	local k

	PATCHES=$(series_patches "$SERIES_VERSION" | wc -l)
	[[ $1 != *, ]] || die "--kernels ends with a comma"
	[[ ,$1 != *,,* ]] || die "--kernels has an empty name"
	IFS=, read -ra NAMES <<<"$1"
	for k in "${NAMES[@]}"; do
		[[ $k =~ ^(base|series|7\.3)$ || ($k =~ ^[1-9][0-9]*$ && $k -le $PATCHES) ]] || is_peer "$k" ||
			die "--kernels takes base, series, 7.3, ${DESIGNS[*]/%/,} or a patch from 1 to $PATCHES, not '$k'"
	done
	no_twice "--kernels" "$1"
}

# no_twice OPTION LIST: nothing is in the list more than once
no_twice()
{
	local twice

	twice=$(tr , '\n' <<<"$2" | sort | uniq -d | sed -n 1p)
	[[ -z $twice ]] || die "$1 has $twice twice"
}

# peer_commit NAME: a peer's patches as commits in KERNEL; prints the last one
peer_commit()
{
	series_commits "$KERNEL" pristine "peers/$1" || die "patches/peers/$1 do not apply"
}

# peer_code NAME: a name for the code of a peer, as series_code is one
peer_code()
{
	code_diff "$(peer_commit "$1")" | git patch-id --stable | cut -c1-12
}

# held NAME: the memory that the mechanism of a kernel holds, with pages of 4 KB and
# words of 64 bits, and what it may keep besides
held()
{
	local cpus=2 max_mb delay

	case $1 in
	series)
		max_mb=$(series_number ZS_FREE_MAX_PAGES M) delay=$(series_number ZS_FREE_DELAY_MS)
		echo "nothing; pages that wait: $((max_mb << 20 >> 12)) of a pool and a zspage for each CPU at most, until the worker comes after $delay ms"
		;;
	handle-queue) echo "an array of (128 MB >> PAGE_SHIFT) * 8 = $(((128 << 20 >> 12) * 8)) bytes for a pool; objects that wait: $((128 << 20 >> 12)) of a pool at most, less than half of them with no end" ;;
	percpu-queue) echo "(2 * CPUs + 16) * PAGE_SIZE + 16 * CPUs = $(((2 * cpus + 16) * 4096 + 16 * cpus)) bytes for a pool with $cpus CPUs; objects that wait: $(((2 * cpus + 16) * 512)) of a pool at most, $((cpus * 511)) of them with no end" ;;
	*) echo "not known" ;;
	esac
}

# costs CONFIG NAME COMMIT: what a kernel costs besides time, on a line
costs()
{
	local config=$1 name=$2 commit=$3 lines before after

	before=$(struct_size "$config" pristine zs_pool) || return
	after=$(struct_size "$config" "$commit" zs_pool) || return
	lines=$(code_diff "$commit" --numstat |
		awk '{ added += $1; removed += $2; files++ }
			END { printf "%d lines added, %d removed in %d file%s", added, removed, files, (files > 1 ? "s" : "") }')
	echo "$lines; struct zs_pool has $after bytes, $before in base; holds $(held "$name")"
}

# build_kernels CONFIG: builds NAMES; sets IMAGES. The series is checked out then.
declare -A IMAGES
build_kernels()
{
	local k commit

	for k in "${NAMES[@]}"; do
		if [[ $k == 7.3 ]]; then
			kernel_source 7.3
			kernel_image "$1" pristine
		else
			kernel_source "$SERIES_VERSION"
			series_checkout
			case $k in
			base) kernel_image "$1" pristine ;;
			series) kernel_image "$1" "$TIP" ;;
			[a-z]*)
				commit=$(peer_commit "$k")
				kernel_image "$1" "$commit"
				;;
			*) kernel_image "$1" "$TIP~$((PATCHES - k))" ;;
			esac
		fi
		# shellcheck disable=SC2034,SC2153 # used by callers; set by kernel_image
		IMAGES[$k]=$IMAGE
	done
	kernel_source "$SERIES_VERSION"
	series_checkout
}

# column_text: fields divided by | as aligned columns
column_text()
{
	awk -F'|' '{ for (i = 1; i <= NF; i++) { f[NR, i] = $i; if (length($i) > w[i]) w[i] = length($i) } }
		END { for (r = 1; r <= NR; r++) {
			line = ""
			for (i = 1; i <= NF; i++) line = line sprintf("%-*s  ", w[i], f[r, i])
			sub(/ +$/, "", line); print line } }'
}

# programs_code SCRIPT: a name for the programs that the figures of SCRIPT depend on,
# besides the kernel and the selftests; nothing if there are none
programs_code()
{
	local names=()

	case $1 in
	profile) names=(plugin.h profile-plugin.c profile-guest.c) ;;
	scale) names=(plugin.h scale-plugin.c scale-sim.c profile-guest.c published.csv) ;;
	*) return 0 ;;
	esac
	(cd "$ROOT/scripts/lib" && sha256sum "${names[@]}") | sha256sum | cut -c1-12
}

# conditions COMMAND CONFIG EMULATOR OPTIONS: under which figures were measured
conditions()
{
	local k commit costs programs

	# shellcheck disable=SC2001
	cat <<-EOF
		command   $(sed 's/ --out [^ ]*//' <<<"$1")
		date      $(date -u +%Y-%m-%d)
		kernel    Linux $(kernel_release "$KERNEL"), scripts/config/$2.config
		series    $PATCHES patches, code $(series_code "$PROG")
		compiler  $("$(cross "$2")gcc" --version | head -n 1)
		emulator  $3
		options   $4
		host      $(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p)
	EOF
	programs=$(programs_code "$PROG")
	[[ -z $programs ]] || echo "programs  code $programs"
	for k in "${NAMES[@]}"; do
		! is_peer "$k" || echo "peer      $k: $(series_patches "peers/$k" | wc -l) patches, code $(peer_code "$k")"
	done
	for k in "${NAMES[@]}"; do
		if is_peer "$k"; then
			commit=$(peer_commit "$k")
		elif [[ $k == series ]]; then
			commit=$TIP
		else
			continue
		fi
		costs=$(costs "$2" "$k" "$commit") || exit
		echo "costs     $k: $costs"
	done
}
