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

# What a script that measures is asked for wrongly is refused before anything is built
check_options()
{
	local bench=$ROOT/scripts/bench profile=$ROOT/scripts/profile scale=$ROOT/scripts/scale

	refuses "unknown argument '--peers'" nowhere "$bench" --peers
	JOBS=0 refuses "JOBS takes a number" nowhere "$bench" --kernels base
	refuses "${DESIGNS[0]}" nowhere "$bench" --kernels base,no-such-design
	refuses '--kernels has base twice' nowhere "$bench" --kernels base,series,base
	refuses 'ends with a comma' nowhere "$bench" --kernels base,series,
	refuses "not '1,3'" nowhere "$bench" --procs 1,3
	refuses "not 'zs_free kfree'" nowhere "$profile" --functions 'zs_free kfree'
	refuses "not 'kfree,'" nowhere "$profile" --functions 'kfree,'
	refuses '--functions has kfree twice' nowhere "$profile" --functions kfree,kfree
	refuses 'not with --kernels' nowhere "$profile" --per-commit --kernels base,series
	refuses 'not with --kernels' nowhere "$profile" --kernels base,series --per-commit
	refuses '--kernels needs base' nowhere "$scale" --kernels 7.3,base
	refuses 'up to 64, not 65' nowhere "$scale" --cpus 1,65
	refuses "not 'pi3'" nowhere "$scale" --machines pi4b,pi3
	refuses "not '1h'" nowhere "$ROOT/scripts/test" --minutes 1h
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

# quotes TABLE TEXT: the text has all lines of it
quotes()
{
	local line

	while read -r line; do
		[[ -z $line ]] || grep -qF -- "$line" "$2" ||
			{ echo "$2 does not have, from $1: $line"; return 1; }
	done <"$1"
}

# README and the cover letter quote the tables in results/ to the letter; these are
# what their CSV gives, and of the series, and the peers in them, as they are
check_quoted_tables()
{
	local table script code programs shown peer i older readme n=0 peer_codes=() here=$PWD

	readme=$(tr -s '\n ' ' ' <"$ROOT/README")
	for peer in "${DESIGNS[@]}"; do
		peer_codes+=("$(peer_code "$peer")")
	done
	cd "$ROOT" || return
	for table in results/*/table.txt; do
		script=$(sed -n 's|^command  *scripts/\([a-z]*\).*|\1|p' "${table%/*}/conditions.txt")
		code=$(series_code "$script")
		older=$(sed -n 's/^series .* code //p' "${table%/*}/conditions.txt")
		# of this series, or of one that README says it is of
		[[ $older == "$code" || $readme =~ "series code $older:"[^.]*" ${table%/*}"[,.] ]] ||
			{ echo "$table is not of this series (code $code): measure again"; return 1; }
		programs=$(programs_code "$script")
		[[ -z $programs ]] || grep -qxF "programs  code $programs" "${table%/*}/conditions.txt" ||
			{ echo "$table is not of these programs (code $programs): measure again"; return 1; }
		shown=$("scripts/$script" --show "${table%/*}")
		[[ $(<"$table") == "$shown" ]] ||
			{ echo "$table is not what its CSV gives: $shown"; return 1; }
		for i in "${!DESIGNS[@]}"; do
			peer=${DESIGNS[i]}
			# named as a kernel, at least in the command
			grep -qwF -- "$peer" "${table%/*}/conditions.txt" || continue
			grep -qE "^peer +$peer: .* code ${peer_codes[i]}\$" "${table%/*}/conditions.txt" ||
				{ echo "$table is not of this $peer (code ${peer_codes[i]}): measure again"; return 1; }
		done
		grep -qE "${table%/*}($|[^a-z0-9-])" README || { echo "README does not name ${table%/*}"; return 1; }
		# what README only points to is quoted nowhere
		! grep -qE "see ${table%/*}($|[^a-z0-9-])" README || continue
		quotes "$table" README
		quotes "$table" "patches/linux-$SERIES_VERSION/0000-cover-letter.patch"
		n=$((n + 1))
	done
	((n >= 4)) || { echo "only $n tables are quoted"; return 1; }
	# What was tested where, and what each test notices, is of the series, too
	code=$(series_code profile)
	for table in results/{matrix,mutants}.txt; do
		grep -qE "^[0-9-]{10}, Linux [0-9.]+, series $code\$" "$table" ||
			{ echo "$table is not of this series (code $code): run the tests again"; return 1; }
		grep -qF "$table" README || { echo "README does not name $table"; return 1; }
	done
	sed -n '/^kernel  *result/,/^$/p' results/matrix.txt >"$here/matrix"
	quotes "$here/matrix" README
}

# Each change of scripts/mutate still finds what it is to break
check_mutants()
{
	local n=0

	# shellcheck source=/dev/null
	. "$ROOT/scripts/lib/mutants.sh"
	# shellcheck disable=SC2317 # mutants calls it
	mutant()
	{
		n=$((n + 1))
		git -C "$KERNEL" show "$TIP:$3" >before
		perl -0pe "$5" before >after
		! cmp -s before after || { echo "$1 changes nothing"; return 1; }
	}
	mutants
	((n >= 20)) || { echo "there are only $n changes"; return 1; }
}

# What profile and scale build for QEMU and for the guest has no warnings
check_plugins()
{
	local f

	need gcc pkg-config libglib2.0-dev
	for f in "$ROOT"/scripts/lib/*-plugin.c; do
		# shellcheck disable=SC2046 # options
		gcc -O2 -Wall -Wextra -Werror -shared -fPIC $(pkg-config --cflags glib-2.0) -o plugin.so "$f"
	done
	gcc -O2 -Wall -Wextra -Werror -static -o guest "$ROOT/scripts/lib/profile-guest.c"
}

# sim PATTERN ARG...: what the simulation of scripts/scale prints
sim()
{
	local expected=$1 got

	shift
	got=$(./scale-sim "$@")
	# shellcheck disable=SC2053 # a pattern
	[[ $got == $expected ]] ||
		{ echo "scale-sim $*: $got, not $expected"; return 1; }
}

# pages EVENTS [WORKER]: a trace of 100 pages with these events each, which are 100
# instructions; and events of the worker for each, which are 40
pages()
{
	local i

	echo "section munmap"
	for ((i = 0; i < 100; i++)); do printf 'p\n%b\n' "${1// /\\n}"; done
	echo "section worker"
	[[ -n ${2-} ]] || return 0
	for ((i = 0; i < 100; i++)); do printf '%b\n' "${2// /\\n}"; done
}

# The simulation of scripts/scale, on traces whose time is known. Events are
# written i30 for "i 30".
check_scale_sim()
{
	local n

	gcc -O2 -Wall -Wextra -Werror -o scale-sim "$ROOT/scripts/lib/scale-sim.c" -lm

	# One CPU: the trace, whatever a transfer takes
	pages 'l1 w1 i30 u1 r2 w3 h i70' >mixed
	sim '10000.00 10000.00 0 0.00' run mixed none 1 50 1 1
	sim '30000.00 30000.00 0 0.00' run mixed none 3 50 1 1

	# Nothing shared: as many processes take as long
	pages 'i100' >alone
	for n in 1 2 7 64; do
		sim '10000.00 10000.00 0 0.00' run alone none 1 50 $n $n
	done

	# A lock that is always held: one after the other, and a transfer to each that waited
	pages 'l1 i100 u1' >locked
	for n in 1 2 7 64; do
		sim "$((n * 10000)).00 *" run locked none 1 0 $n $n
	done
	sim "$((4 * 10000 + (4 * 100 - 1) * 10)).00 *" run locked none 1 10 4 4

	# in the order in which they ask for it
	pages 'l1 i50 u1 i10' >fifo
	sim '15010.00 *' run fifo none 1 0 3 3

	# A line that two CPUs write is transferred each time. The second CPU waits for it
	# once, and is behind then
	pages 'w1 i100' >line
	sim '12020.00 12020.00 200 20.00' run line none 1 20 2 2
	# One that is only read is not
	pages 'r1 i100' >only-read
	sim '10000.00 10000.00 0 0.00' run only-read none 1 20 2 2
	# Each writes it and then reads it: at 0 both want it, and the second to write, at
	# 240, takes it from the first, who still had it to read at 220
	printf 'section munmap\np\nw1\ni200\np\nr1\ni200\nsection worker\n' >both
	sim '460.00 460.00 3 20.00' run both none 1 20 2 2

	# The worker does its share on another CPU, or beside the process, or later, or
	# not at all; or the process does it
	pages i100 'h i40' >worker
	sim '10000.00 10040.00 100 0.00' run worker 1,1000,0,10 1 0 2 1
	sim '10000.00 10050.00 100 0.00' run worker 1,1000,0,10 1 10 2 1
	sim '10000.00 15000.00 100 0.00' run worker 101,1000,10900,10 1 0 2 1
	sim '10000.00 never 0 0.00' run worker 101,1000,0,10 1 10 1 1
	sim '14000.00 14000.00 0 0.00' run worker 1,0,0,10 1 10 1 1
	# slices of 10 and of 1000: the worker has the last one
	sim '13960.00 14000.00 0 0.00' run worker 1,1000,0,10 1 10 1 1
	sim '13600.00 14000.00 0 0.00' run worker 1,1000,0,1000 1 10 1 1
	# Who holds a lock or waits for one is not preempted: the worker runs when a process
	# has just released it, all of 200 times, or those 100 of its CPU
	pages 'l1 i50 i50 u1' 'i40' >locked-worker
	sim '20040.00 20080.00 199 *' run locked-worker 1,1000,0,10 1 0 2 2
	sim '20040.00 24040.00 199 *' run locked-worker 1,1000,0,10,stays 1 0 2 2
	# of 4 CPUs, none has 101 parts of its own
	sim '10000.00 never 0 0.00' run worker 101,1000,0,10,percpu 1 0 4 4
	# the only one has 100
	sim '10000.00 14000.00 100 0.00' run worker 100,1000,0,10,percpu 1 0 2 1
	# 200 of the 400 are done at once, 4 at a time
	sim '12000.00 never 0 0.00' run worker 101,200,0,10,percpu 1 0 4 4
	# With all of 4 CPUs busy, the worker takes turns with each process, or with the
	# last one only, which is then done last
	sim '10600.00 24320.00 400 0.00' run worker 1,1000,0,10 1 0 4 4
	sim '13960.00 26000.00 400 0.00' run worker 1,1000,0,10,stays 1 0 4 4
	sim '10000.00 never 0 0.00' run worker 101,1000,0,10,percpu,stays 1 0 4 4
	# Who does its own part does it at its own place: of two, only one needs the lock,
	# and writes the line, then the other
	{
		pages i100
		for ((n = 0; n < 50; n++)); do printf 'l1\nw1\ni40\nu1\n'; done
		for ((n = 0; n < 50; n++)); do echo i40; done
	} >own
	sim '14000.00 14000.00 2 0.00' run own 1,0,0,10 1 0 2 2
	# A lock that somebody has is not waited for if it is only tried: that page's part
	# is done at once. Here the first CPU gets it always, and the second never.
	pages 't1 i100 u1' 'i40' >tried
	sim '10000.00 24100.00 0 0.00' run tried 1000,1000,20000,10 1 0 2 2

	# Two runs are identical
	pages 'l1 w1 i30 u1 r2 w3 h i70' 'w3 i40' >all
	./scale-sim run all 10,200,50,10 3 30 8 8 >one
	./scale-sim run all 10,200,50,10 3 30 8 8 >two
	cmp one two

	# The costs that made the times are found
	for n in 1 2 4; do
		./scale-sim run mixed none 1 40 4 "$n" | awk -v n="$n" '{ printf "%d=%f ", n, $1 * 2.5 }'
	done >known
	# shellcheck disable=SC2046 # arguments
	sim '40 2.5' fit mixed none 1 4 $(cat known)

	# What is no policy is refused, and no trace
	for n in 1,2,3 1,2,3,4,x 1,2,3,4,percpux 1,2,3,4,stays,percpu; do
		! ./scale-sim run worker "$n" 1 0 1 1 || return 1
	done
	echo 'section munmap' >empty
	! ./scale-sim run empty none 1 0 1 1 || return 1
	printf 'section munmap\np\nx 1\n' >wrong
	! ./scale-sim run wrong none 1 0 1 1 || return 1
}

# Each litmus test of the series has the result that it says, by the memory model of
# that kernel
check_litmus()
{
	local test name should is n=0

	[[ $(uname -m) == x86_64 ]] || skip "herd7 is fetched for x86-64 only"
	need_herd
	checkout "$TIP"
	for test in "$KERNEL"/Documentation/litmus-tests/zsmalloc/*.litmus; do
		name=$(basename "$test" .litmus)
		should=$(sed -n 's/^ \* Result: //p' "$test")
		[[ $should =~ ^(Never|Sometimes|Always)$ ]] || { echo "$name does not say its result"; return 1; }
		(cd "$KERNEL/tools/memory-model" && "${HERD[@]}" -conf linux-kernel.cfg "$test") >"$name.out"
		never grep -i 'flag' "$name.out"
		is=$(awk -v name="$name" '$1 == "Observation" && $2 == name { print $3 }' "$name.out")
		[[ $is == "$should" ]] || { echo "$name: $should, but it is $is"; cat "$name.out"; return 1; }
		# named where it matters
		grep -qF "$name.litmus" "$KERNEL/Documentation/litmus-tests/README" || { echo "README has no $name"; return 1; }
		n=$((n + 1))
	done
	((n)) || { echo "there are no litmus tests"; return 1; }
}
