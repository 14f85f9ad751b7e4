// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of zsmalloc, in two suites:
 *
 * - zsmalloc_obj: the layout of obj values (mm/zsmalloc_obj.h), with the
 *   parameters of many architectures, not only of the one built for.
 *
 * - zsmalloc: the allocator, through its public interface; only for those zspages
 *   that wait to be freed, the tests look at pages.
 */
#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/cleanup.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/iopoll.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/prandom.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/time64.h>
#include <linux/zsmalloc.h>
#include "../mm/zsmalloc_obj.h"

/* Fixed, so that a failure can be repeated */
#define ZT_SEED			0x7a736d61

/*
 * Suite zsmalloc_obj: the layout of obj values
 */

/* The range of CONFIG_ZSMALLOC_CHAIN_SIZE */
#define OBJ_CHAIN_MIN		4
#define OBJ_CHAIN_MAX		16

#define OBJ_NR_RANDOM		256

/**
 * struct obj_arch - what an architecture says about itself
 * @name: for the test log
 * @long_bits: BITS_PER_LONG
 * @physmem_bits: MAX_POSSIBLE_PHYSMEM_BITS or else MAX_PHYSMEM_BITS, and
 *		  @long_bits where it defines neither
 * @page_shift: PAGE_SHIFT
 * @has_class: is there room for the size class index? Known beforehand, as
 *	       what the header computes is to be compared with it.
 */
struct obj_arch {
	const char *name;
	unsigned int long_bits;
	unsigned int physmem_bits;
	unsigned int page_shift;
	bool has_class;
};

static const struct obj_arch obj_archs[] = {
	{ "x86-64",			64, 52, 12, true },
	{ "arm64, 4K pages",		64, 52, 12, true },
	{ "arm64, 16K pages",		64, 52, 14, true },
	{ "arm64, 64K pages",		64, 52, 16, true },
	{ "riscv64",			64, 56, 12, true },
	{ "s390, default",		64, 46, 12, true },
	{ "s390, maximum",		64, 53, 12, true },
	{ "powerpc64, 4K pages",	64, 46, 12, true },
	{ "powerpc64, 64K pages",	64, 51, 16, true },
	{ "sparc64",			64, 53, 13, true },
	{ "loongarch64, 16K pages",	64, 48, 14, true },
	{ "UML, 64-bit",		64, 48, 12, true },
	{ "64-bit, width unknown",	64, 64, 12, false },
	{ "parisc64, 64K pages",	64, 39, 16, true },
	{ "i386 with PAE",		32, 36, 12, false },
	{ "powerpc32, 256K pages",	32, 36, 18, false },
	{ "riscv32",			32, 34, 12, false },
	{ "arm with LPAE",		32, 40, 12, false },
	{ "32-bit",			32, 32, 12, false },
};

KUNIT_ARRAY_PARAM_DESC(obj_arch, obj_archs, name);

/* The fields of an obj value */
struct obj_fields {
	unsigned long pfn;
	unsigned int class_idx;
	unsigned int idx;
};

static unsigned int arch_pfn_bits(const struct obj_arch *arch)
{
	return arch->physmem_bits - arch->page_shift;
}

/* The layout that a kernel for @arch has */
static struct obj_layout arch_layout(const struct obj_arch *arch,
				     unsigned int chain_size)
{
	unsigned int low_bits = __OBJ_LOW_BITS(arch->long_bits,
					       arch->physmem_bits,
					       arch->page_shift);
	unsigned int class_bits = __OBJ_CLASS_BITS(low_bits, arch->page_shift,
						   chain_size);

	return (struct obj_layout){
		.class_bits = class_bits,
		.idx_bits = low_bits - class_bits,
	};
}

static u64 arch_min_alloc_size(const struct obj_arch *arch,
			       unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);

	return __OBJ_MIN_ALLOC_SIZE(l.idx_bits, arch->page_shift, chain_size);
}

static u64 arch_max_zspage_size(const struct obj_arch *arch,
				unsigned int chain_size)
{
	return (u64)chain_size << arch->page_shift;
}

/* The largest value of each field */
static struct obj_fields arch_max_fields(const struct obj_arch *arch,
					 struct obj_layout l)
{
	return (struct obj_fields){
		.pfn = BIT(arch_pfn_bits(arch)) - 1,
		.class_idx = BIT(l.class_bits) - 1,
		.idx = BIT(l.idx_bits) - 1,
	};
}

static unsigned long pack_fields(struct obj_layout l, struct obj_fields f)
{
	return obj_layout_pack(l, f.pfn, f.class_idx, f.idx);
}

typedef void obj_check_fn(struct kunit *test, const struct obj_arch *arch,
			  unsigned int chain_size);

/* Run @check with the parameters of the test, and chains of every length */
static void check_chain_sizes(struct kunit *test, obj_check_fn *check)
{
	const struct obj_arch *arch = test->param_value;
	unsigned int chain_size;

	if (arch->long_bits > BITS_PER_LONG)
		kunit_skip(test, "%u-bit obj values on a %u-bit kernel",
			   arch->long_bits, BITS_PER_LONG);

	for (chain_size = OBJ_CHAIN_MIN; chain_size <= OBJ_CHAIN_MAX; chain_size++)
		check(test, arch, chain_size);
}

static void check_widths(struct kunit *test, const struct obj_arch *arch,
			 unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);
	unsigned int width = arch_pfn_bits(arch) + l.class_bits + l.idx_bits;

	KUNIT_EXPECT_EQ_MSG(test, width, arch->long_bits,
			    "chain size %u", chain_size);
	KUNIT_EXPECT_GT_MSG(test, l.idx_bits, 0, "chain size %u", chain_size);
	KUNIT_EXPECT_EQ_MSG(test, l.class_bits, arch->has_class ? 9 : 0,
			    "chain size %u", chain_size);
}

static void obj_test_widths(struct kunit *test)
{
	check_chain_sizes(test, check_widths);
}

/* The class index must never make the smallest object larger */
static void check_min_alloc_size(struct kunit *test, const struct obj_arch *arch,
				 unsigned int chain_size)
{
	unsigned int low_bits = arch->long_bits - arch_pfn_bits(arch);
	u64 min_size = arch_min_alloc_size(arch, chain_size);
	u64 without_class = max(32, arch_max_zspage_size(arch, chain_size) >> low_bits);

	KUNIT_EXPECT_EQ_MSG(test, min_size, without_class,
			    "chain size %u", chain_size);
	if (arch->has_class)
		KUNIT_EXPECT_EQ_MSG(test, min_size, 32,
				    "chain size %u", chain_size);
	/* A free object starts with a word, which must not span two pages */
	KUNIT_EXPECT_EQ_MSG(test, min_size & (arch->long_bits / 8 - 1), 0,
			    "chain size %u", chain_size);
}

static void obj_test_min_alloc_size(struct kunit *test)
{
	check_chain_sizes(test, check_min_alloc_size);
}

/* Can all objects of the longest zspage of the smallest objects be told apart? */
static void check_idx_range(struct kunit *test, const struct obj_arch *arch,
			    unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);
	u64 min_size = arch_min_alloc_size(arch, chain_size);
	u64 zspage_size = arch_max_zspage_size(arch, chain_size);

	KUNIT_EXPECT_LE_MSG(test, zspage_size, min_size << l.idx_bits,
			    "chain size %u", chain_size);
}

static void obj_test_idx_range(struct kunit *test)
{
	check_chain_sizes(test, check_idx_range);
}

/* Can all size classes be told apart? See ZS_SIZE_CLASSES. */
static void check_class_range(struct kunit *test, const struct obj_arch *arch,
			      unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);
	unsigned int min_size = arch_min_alloc_size(arch, chain_size);
	unsigned int page_size = 1U << arch->page_shift;
	unsigned int nr_classes = DIV_ROUND_UP(page_size - min_size,
					       page_size >> 8) + 1;

	if (l.class_bits)
		KUNIT_EXPECT_LE_MSG(test, nr_classes, 1U << l.class_bits,
				    "chain size %u", chain_size);
}

static void obj_test_class_range(struct kunit *test)
{
	check_chain_sizes(test, check_class_range);
}

/* Each field has bits of its own, and together they are the whole obj value */
static void check_masks(struct kunit *test, const struct obj_arch *arch,
			unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);
	struct obj_fields max = arch_max_fields(arch, l);
	unsigned long pfn = obj_layout_pack(l, max.pfn, 0, 0);
	unsigned long class = obj_layout_pack(l, 0, max.class_idx, 0);
	unsigned long idx = obj_layout_pack(l, 0, 0, max.idx);

	KUNIT_EXPECT_EQ_MSG(test, pfn & class, 0, "chain size %u", chain_size);
	KUNIT_EXPECT_EQ_MSG(test, pfn & idx, 0, "chain size %u", chain_size);
	KUNIT_EXPECT_EQ_MSG(test, class & idx, 0, "chain size %u", chain_size);
	KUNIT_EXPECT_EQ_MSG(test, pfn | class | idx,
			    GENMASK_ULL(arch->long_bits - 1, 0),
			    "chain size %u", chain_size);
}

static void obj_test_masks(struct kunit *test)
{
	check_chain_sizes(test, check_masks);
}

/* What was packed comes out again. There are many of these: stop at the first. */
static void check_round_trip(struct kunit *test, struct obj_layout l,
			     struct obj_fields f)
{
	unsigned long obj = pack_fields(l, f);

	KUNIT_ASSERT_EQ_MSG(test, obj_layout_pfn(l, obj), f.pfn, "obj %#lx", obj);
	KUNIT_ASSERT_EQ_MSG(test, obj_layout_idx(l, obj), f.idx, "obj %#lx", obj);
	if (l.class_bits)
		KUNIT_ASSERT_EQ_MSG(test, obj_layout_class(l, obj), f.class_idx,
				    "obj %#lx", obj);
}

#define NR_EXTREMES(bits)	(2 * ((bits) + 1))

/* Of all values of @bits bits: 0, each single bit, and the complements of these */
static unsigned long extreme_value(unsigned int bits, unsigned int n)
{
	unsigned long value = n / 2 < bits ? BIT(n / 2) : 0;

	return n % 2 ? value ^ (BIT(bits) - 1) : value;
}

/* Extreme values of one field in turn, while the others stay as in @f */
static void check_extremes_around(struct kunit *test, const struct obj_arch *arch,
				  struct obj_layout l, const struct obj_fields f)
{
	unsigned int pfn_bits = arch_pfn_bits(arch);
	struct obj_fields v;
	unsigned int i;

	for (v = f, i = 0; i < NR_EXTREMES(pfn_bits); i++) {
		v.pfn = extreme_value(pfn_bits, i);
		check_round_trip(test, l, v);
	}
	for (v = f, i = 0; i < NR_EXTREMES(l.class_bits); i++) {
		v.class_idx = extreme_value(l.class_bits, i);
		check_round_trip(test, l, v);
	}
	for (v = f, i = 0; i < NR_EXTREMES(l.idx_bits); i++) {
		v.idx = extreme_value(l.idx_bits, i);
		check_round_trip(test, l, v);
	}
}

static void check_extremes(struct kunit *test, const struct obj_arch *arch,
			   unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);

	check_extremes_around(test, arch, l, (struct obj_fields){});
	check_extremes_around(test, arch, l, arch_max_fields(arch, l));
}

static void obj_test_extremes(struct kunit *test)
{
	check_chain_sizes(test, check_extremes);
}

static struct obj_fields random_fields(struct rnd_state *rnd,
				       struct obj_fields max)
{
	u64 pfn = (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);

	return (struct obj_fields){
		.pfn = pfn & max.pfn,
		.class_idx = prandom_u32_state(rnd) & max.class_idx,
		.idx = prandom_u32_state(rnd) & max.idx,
	};
}

static void check_random(struct kunit *test, const struct obj_arch *arch,
			 unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);
	struct obj_fields max = arch_max_fields(arch, l);
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, ZT_SEED);
	for (i = 0; i < OBJ_NR_RANDOM; i++)
		check_round_trip(test, l, random_fields(&rnd, max));
}

static void obj_test_random(struct kunit *test)
{
	check_chain_sizes(test, check_random);
}

/*
 * Migration changes the PFN, and compaction the object index too. A racing
 * reader of the size class index must not notice.
 */
static void check_class_is_stable(struct kunit *test, const struct obj_arch *arch,
				  unsigned int chain_size)
{
	struct obj_layout l = arch_layout(arch, chain_size);
	struct obj_fields max = arch_max_fields(arch, l);
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, ZT_SEED);
	for (i = 0; i < OBJ_NR_RANDOM; i++) {
		struct obj_fields old = random_fields(&rnd, max);
		struct obj_fields new = random_fields(&rnd, max);
		unsigned long obj;

		new.class_idx = old.class_idx;
		obj = pack_fields(l, old) ^ pack_fields(l, new);
		KUNIT_ASSERT_EQ(test, obj_layout_class(l, obj), 0);
	}
}

static void obj_test_class_is_stable(struct kunit *test)
{
	const struct obj_arch *arch = test->param_value;

	if (!arch->has_class)
		kunit_skip(test, "a layout without class index");
	check_chain_sizes(test, check_class_is_stable);
}

/* Where the class index is known to fit, by name rather than by width */
static bool this_arch_has_class(void)
{
	return IS_ENABLED(CONFIG_64BIT) &&
	       (IS_ENABLED(CONFIG_ARM64) || IS_ENABLED(CONFIG_RISCV) ||
		IS_ENABLED(CONFIG_S390) || IS_ENABLED(CONFIG_UML) ||
		IS_ENABLED(CONFIG_X86));
}

/* The width that the header is expected to find here, 0 if not written down */
static unsigned int this_arch_physmem_bits(void)
{
	if (!IS_ENABLED(CONFIG_64BIT))
		return 0;
	if (IS_ENABLED(CONFIG_UML))
		return 48;
	if (IS_ENABLED(CONFIG_RISCV))
		return 56;
	if (IS_ENABLED(CONFIG_X86) || IS_ENABLED(CONFIG_ARM64))
		return 52;
	return 0;
}

static void check_this_kernel_round_trip(struct kunit *test, struct obj_fields f)
{
	unsigned long obj = obj_pack(f.pfn, f.class_idx, f.idx);

	KUNIT_EXPECT_EQ(test, obj, pack_fields(OBJ_LAYOUT, f));
	KUNIT_EXPECT_EQ(test, obj_to_pfn(obj), f.pfn);
	KUNIT_EXPECT_EQ(test, obj_to_idx(obj), f.idx);
	if (OBJ_HAS_CLASS)
		KUNIT_EXPECT_EQ(test, obj_to_class_idx(obj), f.class_idx);
}

/* The layout in use is the one of an architecture with these parameters */
static void obj_test_this_kernel(struct kunit *test)
{
	const unsigned int chain_size = CONFIG_ZSMALLOC_CHAIN_SIZE;
	const struct obj_arch arch = {
		.name = "this kernel",
		.long_bits = BITS_PER_LONG,
		.physmem_bits = OBJ_PHYSMEM_BITS,
		.page_shift = PAGE_SHIFT,
		.has_class = OBJ_HAS_CLASS,
	};
	struct obj_layout l = arch_layout(&arch, chain_size);

	if (this_arch_physmem_bits())
		KUNIT_EXPECT_EQ(test, OBJ_PHYSMEM_BITS, this_arch_physmem_bits());
	KUNIT_EXPECT_EQ(test, OBJ_LAYOUT.class_bits, l.class_bits);
	KUNIT_EXPECT_EQ(test, OBJ_LAYOUT.idx_bits, l.idx_bits);
	KUNIT_EXPECT_EQ(test, ZS_MIN_ALLOC_SIZE,
			arch_min_alloc_size(&arch, chain_size));
	if (this_arch_has_class())
		KUNIT_EXPECT_TRUE(test, OBJ_HAS_CLASS);

	check_widths(test, &arch, chain_size);
	check_min_alloc_size(test, &arch, chain_size);
	check_this_kernel_round_trip(test, (struct obj_fields){});
	check_this_kernel_round_trip(test, arch_max_fields(&arch, l));
}

static struct kunit_case obj_test_cases[] = {
	KUNIT_CASE_PARAM(obj_test_widths, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_min_alloc_size, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_idx_range, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_class_range, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_masks, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_extremes, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_random, obj_arch_gen_params),
	KUNIT_CASE_PARAM(obj_test_class_is_stable, obj_arch_gen_params),
	KUNIT_CASE(obj_test_this_kernel),
	{}
};

static struct kunit_suite obj_test_suite = {
	.name = "zsmalloc_obj",
	.test_cases = obj_test_cases,
};

/*
 * Suite zsmalloc: the allocator
 */

/* As zram allocates: the pages may be anywhere and may be migrated */
#define ZT_GFP			(GFP_KERNEL | __GFP_HIGHMEM | __GFP_MOVABLE)

/* The smallest size class there is anywhere */
#define ZT_MIN_CLASS_SIZE	32

/* Full zspages of one class: enough to have some freed by compaction */
#define ZT_NR_ZSPAGES		4
#define ZT_MAX_OBJS \
	(ZT_NR_ZSPAGES * CONFIG_ZSMALLOC_CHAIN_SIZE * PAGE_SIZE / ZT_MIN_CLASS_SIZE + 1)

#define ZT_NR_WORKERS		4
#define ZT_NR_WORKER_OPS	16384
#define ZT_NR_WORKER_OBJS	256

/* Objects of one class, in zspages that are compacted while they are freed */
#define ZT_NR_MOVING_ROUNDS	64
#define ZT_NR_MOVING_OBJS	1024
#define ZT_MOVING_SIZE		200

#define ZT_NR_STEADY_ROUNDS	512
#define ZT_NR_STEADY_OBJS	16

/*
 * An emptied zspage is freed later, by a worker. So long to wait for it is far more
 * than it takes on a busy machine.
 */
#define ZT_WAIT_US		(10 * USEC_PER_SEC)
#define ZT_POLL_US		(5 * USEC_PER_MSEC)

/* An object in the pool; if @handle is 0, a place for one, that may have had one */
struct zt_obj {
	unsigned long handle;
	unsigned int size;
	u32 seed;
};

/* A user of the pool, with what it needs to access one object at a time */
struct zt_user {
	struct zs_pool *pool;
	gfp_t gfp;
	struct rnd_state rnd;
	u32 *pattern;
	void *copy;
	/* Sleeps while reading, now and then */
	bool rests;
};

struct zt_set {
	struct zs_pool *pool;
	unsigned int nr;
	/* For @objs, where several threads use the set */
	spinlock_t lock;
	struct zt_obj objs[] __counted_by(nr);
};

static unsigned int zt_random(struct zt_user *user, unsigned int ceil)
{
	return prandom_u32_state(&user->rnd) % ceil;
}

/* Contents that no other object has, at any place in it */
static void zt_make_pattern(struct zt_user *user, const struct zt_obj *obj)
{
	unsigned int i;

	for (i = 0; i < DIV_ROUND_UP(obj->size, sizeof(u32)); i++)
		user->pattern[i] = obj->seed + i * GOLDEN_RATIO_32;
}

static void zt_write(struct zt_user *user, struct zt_obj *obj)
{
	obj->seed = prandom_u32_state(&user->rnd);
	zt_make_pattern(user, obj);
	zs_obj_write(user->pool, obj->handle, user->pattern, obj->size);
}

static int zt_malloc(struct zt_user *user, struct zt_obj *obj, unsigned int size)
{
	unsigned long handle;

	handle = zs_malloc(user->pool, size, user->gfp, NUMA_NO_NODE);
	if (IS_ERR_VALUE(handle))
		return (long)handle;

	obj->handle = handle;
	obj->size = size;
	zt_write(user, obj);
	return 0;
}

static void zt_free(struct zs_pool *pool, struct zt_obj *obj)
{
	zs_free(pool, obj->handle);
	obj->handle = 0;
}

/*
 * Who reads an object may sleep. Workers do now and then, as on one CPU others
 * would hardly ever meet a locked zspage otherwise. Not often, as the shortest
 * sleep may be as long as thousands of operations (a jiffy).
 */
static void zt_rest_while_reading(struct zt_user *user)
{
	if (user->rests && !zt_random(user, 512))
		usleep_range(1, 10);
	else
		cond_resched();
}

/* Does the object hold what was written to it? */
static int zt_check(struct zt_user *user, const struct zt_obj *obj)
{
	bool intact;
	void *mem;

	zt_make_pattern(user, obj);
	mem = zs_obj_read_begin(user->pool, obj->handle, obj->size, user->copy);
	zt_rest_while_reading(user);
	intact = !memcmp(mem, user->pattern, obj->size);
	zs_obj_read_end(user->pool, obj->handle, obj->size, mem);

	return intact ? 0 : -EBADMSG;
}

static int zt_check_sg(struct zt_user *user, const struct zt_obj *obj)
{
	struct scatterlist sg[2];
	size_t copied;

	zt_make_pattern(user, obj);
	zs_obj_read_sg_begin(user->pool, obj->handle, sg, obj->size);
	zt_rest_while_reading(user);
	copied = sg_copy_to_buffer(sg, sg_nents(sg), user->copy, obj->size);
	zs_obj_read_sg_end(user->pool, obj->handle);

	if (copied != obj->size || memcmp(user->copy, user->pattern, obj->size))
		return -EBADMSG;
	return 0;
}

/* The object is freed even if it is not intact */
static int zt_check_and_free(struct zt_user *user, struct zt_obj *obj)
{
	int err = zt_check(user, obj);

	zt_free(user->pool, obj);
	return err;
}

static void zt_init_user(struct kunit *test, struct zt_user *user, u32 seed)
{
	user->pool = test->priv;
	user->gfp = ZT_GFP;
	prandom_seed_state(&user->rnd, seed);
	user->pattern = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, user->pattern);
	user->copy = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, user->copy);
}

static struct zt_user *zt_create_user(struct kunit *test)
{
	struct zt_user *user = kunit_kzalloc(test, sizeof(*user), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, user);
	zt_init_user(test, user, ZT_SEED);
	return user;
}

static void zt_free_set(struct zt_set *set)
{
	unsigned int i;

	for (i = 0; i < set->nr; i++) {
		zt_free(set->pool, &set->objs[i]);
		set->objs[i].size = 0;
	}
}

static void zt_destroy_set(void *data)
{
	zt_free_set(data);
	kvfree(data);
}

/* Room for @nr objects. Those in it when the test ends, even early, are freed. */
static struct zt_set *zt_create_set(struct kunit *test, unsigned int nr)
{
	struct zt_set *set;

	set = kvzalloc(struct_size(set, objs, nr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, set);
	set->nr = nr;
	set->pool = test->priv;
	spin_lock_init(&set->lock);

	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, zt_destroy_set, set), 0);
	return set;
}

static void zt_check_set(struct kunit *test, struct zt_user *user,
			 const struct zt_set *set)
{
	unsigned int i;

	for (i = 0; i < set->nr; i++) {
		const struct zt_obj *obj = &set->objs[i];

		if (!obj->handle)
			continue;
		KUNIT_ASSERT_EQ_MSG(test, zt_check(user, obj), 0,
				    "object %u of size %u", i, obj->size);
		KUNIT_ASSERT_EQ_MSG(test, zt_check_sg(user, obj), 0,
				    "object %u of size %u", i, obj->size);
		cond_resched();
	}
}

/* Wait until the pool has shrunk to @max pages */
static bool zt_pages_fall_to(struct zs_pool *pool, unsigned long max)
{
	unsigned long pages;

	return !read_poll_timeout(zs_get_total_pages, pages, pages <= max,
				  ZT_POLL_US, ZT_WAIT_US, false, pool);
}

/*
 * The pool has room for the objects of the set, all of one class, and not much
 * more. At least half of each full zspage is objects: what is left is less than
 * one of them, or it would be one more. One zspage need not be full, if the pool
 * is not fragmented.
 */
static void zt_check_pages(struct kunit *test, const struct zt_set *set,
			   size_t class_size)
{
	unsigned long nr_objs = 0;
	unsigned long max_pages;
	size_t bytes = 0;
	unsigned int i;

	for (i = 0; i < set->nr; i++) {
		if (set->objs[i].handle) {
			bytes += set->objs[i].size;
			nr_objs++;
		}
	}

	max_pages = DIV_ROUND_UP(2 * nr_objs * class_size, PAGE_SIZE) +
		    CONFIG_ZSMALLOC_CHAIN_SIZE;
	KUNIT_EXPECT_TRUE_MSG(test, zt_pages_fall_to(set->pool, max_pages),
			      "%lu pages for %lu objects of up to %zu bytes",
			      zs_get_total_pages(set->pool), nr_objs, class_size);
	KUNIT_EXPECT_GE_MSG(test, zs_get_total_pages(set->pool) * PAGE_SIZE, bytes,
			    "class of size %zu", class_size);
}

static void zt_check_empty(struct kunit *test, struct zs_pool *pool)
{
	KUNIT_ASSERT_TRUE_MSG(test, zt_pages_fall_to(pool, 0),
			      "%lu pages left", zs_get_total_pages(pool));
}

/*
 * Allocate @size1 and @size2 bytes by turns, which are of one class, until
 * ZT_NR_ZSPAGES zspages are full and another has been started. The place of
 * these is only seen from outside by how the pool grows.
 */
static void zt_fill(struct kunit *test, struct zt_user *user, struct zt_set *set,
		    unsigned int size1, unsigned int size2)
{
	unsigned long pages = zs_get_total_pages(user->pool);
	unsigned int nr_zspages = 0;
	unsigned int i;

	for (i = 0; nr_zspages <= ZT_NR_ZSPAGES; i++) {
		unsigned long old_pages = pages;
		unsigned int size = i % 2 ? size2 : size1;

		KUNIT_ASSERT_LT_MSG(test, i, set->nr, "size %u", size);
		KUNIT_ASSERT_EQ_MSG(test, zt_malloc(user, &set->objs[i], size), 0,
				    "size %u", size);
		pages = zs_get_total_pages(user->pool);
		if (pages > old_pages)
			nr_zspages++;
		cond_resched();
	}
}

/* Free every other object and some around the rest, and rewrite some others */
static void zt_punch_holes(struct zt_user *user, struct zt_set *set)
{
	unsigned int i;

	for (i = 0; i < set->nr; i++) {
		struct zt_obj *obj = &set->objs[i];

		if (!obj->handle)
			continue;
		if (i % 2 || !zt_random(user, 4))
			zt_free(user->pool, obj);
		else if (!zt_random(user, 4))
			zt_write(user, obj);
		cond_resched();
	}
}

/* Allocate objects in the place of those that were freed */
static void zt_fill_holes(struct kunit *test, struct zt_user *user,
			  struct zt_set *set)
{
	unsigned int i;

	for (i = 0; i < set->nr; i++) {
		struct zt_obj *obj = &set->objs[i];

		if (!obj->handle && obj->size)
			KUNIT_ASSERT_EQ_MSG(test, zt_malloc(user, obj, obj->size), 0,
					    "object %u of size %u", i, obj->size);
		cond_resched();
	}
}

/* The largest size in the same class as @size */
static unsigned int zt_class_end(struct zs_pool *pool, unsigned int size)
{
	unsigned int class = zs_lookup_class_index(pool, size);

	while (size < PAGE_SIZE && zs_lookup_class_index(pool, size + 1) == class)
		size++;
	return size;
}

/* @first to @last are the sizes of one class */
static void zt_check_class(struct kunit *test, struct zt_user *user,
			   struct zt_set *set, unsigned int first,
			   unsigned int last)
{
	/* Objects have a handle beside them, except those of a whole page */
	size_t class_size = min(last + sizeof(unsigned long), PAGE_SIZE);

	zt_fill(test, user, set, first, last);
	zt_check_set(test, user, set);
	zt_check_pages(test, set, class_size);

	zt_punch_holes(user, set);
	zt_check_set(test, user, set);

	zs_compact(user->pool);
	zt_check_set(test, user, set);
	zt_check_pages(test, set, class_size);

	/* Also in places that compaction has emptied, if it left their zspage */
	zt_fill_holes(test, user, set);
	zt_check_set(test, user, set);
	zt_check_pages(test, set, class_size);

	zt_free_set(set);
	zt_check_empty(test, user->pool);
}

static void zt_test_classes(struct kunit *test)
{
	struct zt_set *set = zt_create_set(test, ZT_MAX_OBJS);
	struct zt_user *user = zt_create_user(test);
	unsigned int first, last;

	for (first = 1; first <= PAGE_SIZE; first = last + 1) {
		last = zt_class_end(user->pool, first);
		zt_check_class(test, user, set, first, last);
	}
}

/* Free some objects, and allocate as many */
static void zt_replace_some(struct kunit *test, struct zt_user *user,
			    struct zt_set *set)
{
	unsigned int i;

	for (i = 0; i < ZT_NR_STEADY_OBJS; i++)
		zt_free(user->pool, &set->objs[zt_random(user, set->nr)]);

	zt_fill_holes(test, user, set);
}

/* Freed places are used again: the pool does not grow if the data does not */
static void zt_test_reuse(struct kunit *test)
{
	const unsigned int nr = ZT_NR_STEADY_OBJS * 16;
	struct zt_set *set = zt_create_set(test, nr);
	struct zt_user *user = zt_create_user(test);
	unsigned long pages;
	unsigned int i;

	for (i = 0; i < nr; i++)
		KUNIT_ASSERT_EQ(test, zt_malloc(user, &set->objs[i], 100), 0);
	pages = zs_get_total_pages(user->pool);

	for (i = 0; i < ZT_NR_STEADY_ROUNDS; i++) {
		zt_replace_some(test, user, set);
		cond_resched();
	}

	KUNIT_EXPECT_TRUE_MSG(test, zt_pages_fall_to(user->pool, pages),
			      "%lu pages grew to %lu", pages,
			      zs_get_total_pages(user->pool));
	zt_check_set(test, user, set);
	zt_free_set(set);
	zt_check_empty(test, user->pool);
}

static void zt_test_bad_sizes(struct kunit *test)
{
	struct zs_pool *pool = test->priv;
	unsigned long handle;

	handle = zs_malloc(pool, 0, ZT_GFP, NUMA_NO_NODE);
	KUNIT_EXPECT_TRUE(test, IS_ERR_VALUE(handle));
	KUNIT_EXPECT_EQ(test, (long)handle, -EINVAL);

	handle = zs_malloc(pool, PAGE_SIZE + 1, ZT_GFP, NUMA_NO_NODE);
	KUNIT_EXPECT_TRUE(test, IS_ERR_VALUE(handle));
	KUNIT_EXPECT_EQ(test, (long)handle, -ENOSPC);

	KUNIT_EXPECT_EQ(test, zs_get_total_pages(pool), 0);
}

/* Callers may free whatever zs_malloc() gave them, and what they never had */
static void zt_test_bad_handles(struct kunit *test)
{
	struct zt_set *set = zt_create_set(test, 1);
	struct zt_user *user = zt_create_user(test);
	unsigned long pages;

	KUNIT_ASSERT_EQ(test, zt_malloc(user, &set->objs[0], 100), 0);
	pages = zs_get_total_pages(user->pool);

	zs_free(user->pool, 0);
	zs_free(user->pool, (unsigned long)ERR_PTR(-ENOMEM));
	zs_free(user->pool, (unsigned long)ERR_PTR(-ENOSPC));

	KUNIT_EXPECT_EQ(test, zs_get_total_pages(user->pool), pages);
	zt_check_set(test, user, set);
	zt_free_set(set);
	zt_check_empty(test, user->pool);
}

/*
 * The concurrent tests: some worker threads use the pool, and one compacts it
 * all the time. KUnit assertions are not for other threads: workers give up and
 * leave their first error to the thread of the test.
 */

/* The sizes of objects that workers allocate */
struct zt_sizes {
	const char *name;
	unsigned int min;
	unsigned int max;
};

static const struct zt_sizes zt_sizes[] = {
	/* All in one zspage */
	{ "smallest class", 1, 1 },
	/* Zspages of many objects, some of which span two pages */
	{ "one class", 200, 200 },
	/* Zspages of few objects, which often become empty */
	{ "large class", PAGE_SIZE / 3, PAGE_SIZE / 3 },
	/* Zspages of one object */
	{ "huge class", PAGE_SIZE, PAGE_SIZE },
	{ "many classes", 1, PAGE_SIZE },
};

KUNIT_ARRAY_PARAM_DESC(zt_sizes, zt_sizes, name);

struct zt_worker {
	struct zt_user user;
	struct zt_set *set;
	const struct zt_sizes *sizes;
	int (*op)(struct zt_worker *worker, unsigned int nr_op);
	struct completion done;
	int err;
};

static unsigned int zt_random_size(struct zt_worker *worker)
{
	const struct zt_sizes *sizes = worker->sizes;

	return sizes->min + zt_random(&worker->user, sizes->max - sizes->min + 1);
}

/*
 * For some time objects come and go, then they only go, by turns: so zspages get
 * empty, and there is something to compact.
 */
static bool zt_is_draining(unsigned int nr_op)
{
	return nr_op / ZT_NR_WORKER_OBJS % 2;
}

/* A set for each worker: objects of others change only beside its own ones */
static int zt_op_own(struct zt_worker *worker, unsigned int nr_op)
{
	struct zt_user *user = &worker->user;
	struct zt_obj *obj = &worker->set->objs[zt_random(user, worker->set->nr)];

	if (zt_is_draining(nr_op))
		return obj->handle ? zt_check_and_free(user, obj) : 0;
	if (!obj->handle)
		return zt_malloc(user, obj, zt_random_size(worker));

	switch (zt_random(user, 8)) {
	case 0:
		return zt_check(user, obj);
	case 1:
		return zt_check_sg(user, obj);
	case 2:
		zt_write(user, obj);
		return 0;
	default:
		return zt_check_and_free(user, obj);
	}
}

/*
 * One set for all workers: most objects are freed by another worker than the one
 * that allocated them, while their neighbours are freed by others.
 */
static int zt_op_shared(struct zt_worker *worker, unsigned int nr_op)
{
	struct zt_user *user = &worker->user;
	struct zt_set *set = worker->set;
	struct zt_obj *place = &set->objs[zt_random(user, set->nr)];
	struct zt_obj obj = {};

	if (!zt_is_draining(nr_op)) {
		int err = zt_malloc(user, &obj, zt_random_size(worker));

		if (err)
			return err;
	}

	scoped_guard(spinlock, &set->lock)
		swap(obj, *place);

	return obj.handle ? zt_check_and_free(user, &obj) : 0;
}

static int zt_worker_fn(void *data)
{
	struct zt_worker *worker = data;
	unsigned int i;

	for (i = 0; i < ZT_NR_WORKER_OPS && !kthread_should_stop(); i++) {
		worker->err = worker->op(worker, i);
		if (worker->err)
			break;
		cond_resched();
	}
	complete(&worker->done);
	return 0;
}

static int zt_compact_fn(void *data)
{
	struct zs_pool *pool = data;

	while (!kthread_should_stop()) {
		zs_compact(pool);
		cond_resched();
	}
	return 0;
}

static void zt_stop_thread(void *data)
{
	kthread_stop_put(data);
}

/* The thread is stopped when the test ends, even early, if not before */
static struct task_struct *zt_start_thread(struct kunit *test,
					   int (*fn)(void *data), void *data)
{
	struct task_struct *task = kthread_create(fn, data, "zsmalloc_kunit");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	/* It may end by itself */
	get_task_struct(task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, zt_stop_thread, task), 0);
	wake_up_process(task);
	return task;
}

static void zt_run_workers(struct kunit *test, struct zt_worker *workers)
{
	struct task_struct *compactor;
	unsigned int i;

	compactor = zt_start_thread(test, zt_compact_fn, test->priv);
	for (i = 0; i < ZT_NR_WORKERS; i++)
		zt_start_thread(test, zt_worker_fn, &workers[i]);

	for (i = 0; i < ZT_NR_WORKERS; i++)
		wait_for_completion(&workers[i].done);
	kunit_release_action(test, zt_stop_thread, compactor);

	for (i = 0; i < ZT_NR_WORKERS; i++)
		KUNIT_ASSERT_EQ_MSG(test, workers[i].err, 0, "worker %u", i);
}

static struct zt_worker *zt_create_workers(struct kunit *test)
{
	struct zt_worker *workers;
	unsigned int i;

	workers = kunit_kcalloc(test, ZT_NR_WORKERS, sizeof(*workers), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, workers);

	for (i = 0; i < ZT_NR_WORKERS; i++) {
		zt_init_user(test, &workers[i].user, ZT_SEED + i);
		workers[i].user.rests = true;
		workers[i].sizes = test->param_value;
		init_completion(&workers[i].done);
	}
	return workers;
}

/*
 * Objects are freed in the order of their places while another thread compacts. So
 * the zspage that they leave is the one with the fewest, which compaction empties:
 * who waits for the lock to free an object often finds it elsewhere then.
 */
static void zt_test_free_moving(struct kunit *test)
{
	struct zt_set *set = zt_create_set(test, ZT_NR_MOVING_OBJS);
	struct zt_user *user = zt_create_user(test);
	struct task_struct *compactor;
	unsigned int round, i;

	compactor = zt_start_thread(test, zt_compact_fn, test->priv);
	for (round = 0; round < ZT_NR_MOVING_ROUNDS; round++) {
		for (i = 0; i < set->nr; i++)
			KUNIT_ASSERT_EQ(test, zt_malloc(user, &set->objs[i], ZT_MOVING_SIZE), 0);
		for (i = 1; i < set->nr; i += 2)
			zt_free(user->pool, &set->objs[i]);
		zt_check_set(test, user, set);
		for (i = 0; i < set->nr; i += 2)
			zt_free(user->pool, &set->objs[i]);
		cond_resched();
	}
	kunit_release_action(test, zt_stop_thread, compactor);
	zt_check_empty(test, test->priv);
}

static void zt_test_concurrent_own(struct kunit *test)
{
	struct zt_worker *workers = zt_create_workers(test);
	unsigned int i;

	for (i = 0; i < ZT_NR_WORKERS; i++) {
		workers[i].op = zt_op_own;
		workers[i].set = zt_create_set(test, ZT_NR_WORKER_OBJS);
	}
	zt_run_workers(test, workers);

	for (i = 0; i < ZT_NR_WORKERS; i++) {
		zt_check_set(test, &workers[i].user, workers[i].set);
		zt_free_set(workers[i].set);
	}
	zt_check_empty(test, test->priv);
}

static void zt_test_concurrent_shared(struct kunit *test)
{
	struct zt_set *set = zt_create_set(test, ZT_NR_WORKERS * ZT_NR_WORKER_OBJS);
	struct zt_worker *workers = zt_create_workers(test);
	unsigned int i;

	for (i = 0; i < ZT_NR_WORKERS; i++) {
		workers[i].op = zt_op_shared;
		workers[i].set = set;
	}
	zt_run_workers(test, workers);

	zt_check_set(test, &workers[0].user, set);
	zt_free_set(set);
	zt_check_empty(test, test->priv);
}

static void zt_destroy_pool(void *data)
{
	zs_destroy_pool(data);
}

/*
 * Empty zspages that wait for the worker. An object of PAGE_SIZE has a zspage and
 * a page to itself, and the page says that it is of zsmalloc until it is free. So
 * the pages that wait can be counted, from outside.
 *
 * The worker stops at a zspage with a locked page. What gets empty after that
 * stays on the list, unless somebody else frees it.
 */

/* The bound and the delay that Documentation/mm/zsmalloc.rst promises */
#define ZT_MAX_PENDING		(SZ_8M >> PAGE_SHIFT)
#define ZT_DELAY_US		(10 * USEC_PER_MSEC)

/* With pages of 4 KB, less than makes the worker start before the delay is over */
#define ZT_NR_FEW		32

/* A zone that only old devices need has no more, and is a small part of all memory */
#define ZT_MAX_ZONE_PAGES	(SZ_32M >> PAGE_SHIFT)
#define ZT_MAX_ZONE_PART	8

struct zt_pages {
	struct zt_set *set;
	/* Of each object in @set, also when it is free */
	struct page **pages;
};

static void zt_kvfree(void *data)
{
	kvfree(data);
}

/* The page of an object, with a reference, as the object may migrate right away */
static struct page *zt_get_obj_page(struct zs_pool *pool, const struct zt_obj *obj)
{
	struct scatterlist sg[2];
	struct page *page;

	zs_obj_read_sg_begin(pool, obj->handle, sg, obj->size);
	page = sg_page(sg);
	get_page(page);
	zs_obj_read_sg_end(pool, obj->handle);
	return page;
}

/* The same without a reference: only to be compared, or asked whose it is */
static struct page *zt_obj_page(struct zs_pool *pool, const struct zt_obj *obj)
{
	struct page *page = zt_get_obj_page(pool, obj);

	put_page(page);
	return page;
}

/* @nr objects of PAGE_SIZE */
static struct zt_pages *zt_create_user_pages(struct kunit *test,
					     struct zt_user *user, unsigned int nr)
{
	struct zt_pages *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	p->set = zt_create_set(test, nr);
	p->set->pool = user->pool;
	p->pages = kvcalloc(nr, sizeof(*p->pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p->pages);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, zt_kvfree, p->pages), 0);

	for (i = 0; i < nr; i++) {
		struct zt_obj *obj = &p->set->objs[i];

		KUNIT_ASSERT_EQ(test, zt_malloc(user, obj, PAGE_SIZE), 0);
		p->pages[i] = zt_obj_page(user->pool, obj);
		cond_resched();
	}
	KUNIT_ASSERT_EQ(test, zs_get_total_pages(user->pool), nr);
	return p;
}

static struct zt_pages *zt_create_pages(struct kunit *test, struct zs_pool *pool,
					unsigned int nr)
{
	struct zt_user *user = zt_create_user(test);

	user->pool = pool;
	return zt_create_user_pages(test, user, nr);
}

static void zt_free_pages(struct zt_pages *p, unsigned int first, unsigned int nr)
{
	unsigned int i;

	for (i = first; i < first + nr; i++)
		zt_free(p->set->pool, &p->set->objs[i]);
}

/* Pages that are still zsmalloc's. One that is migrated meanwhile does not count. */
static unsigned int zt_count_pages(struct zt_pages *p)
{
	unsigned int i, count = 0;

	for (i = 0; i < p->set->nr; i++)
		count += !!PageZsmalloc(p->pages[i]);
	return count;
}

static bool zt_count_falls_to_0(struct zt_pages *p, u64 timeout_us)
{
	unsigned int count;

	return !read_poll_timeout(zt_count_pages, count, !count, ZT_POLL_US,
				  timeout_us, false, p);
}

static void zt_unlock_page(void *page)
{
	unlock_page(page);
}

/* Free the first object with its page locked, until the worker waits for that */
static void zt_stop_worker(struct kunit *test, struct zt_pages *p)
{
	struct zt_obj *obj = &p->set->objs[0];
	struct page *page;
	bool moved, waits;

	/* It may migrate until it is locked */
	do {
		page = zt_get_obj_page(p->set->pool, obj);
		lock_page(page);
		moved = page != zt_obj_page(p->set->pool, obj);
		if (moved)
			unlock_page(page);
		put_page(page);
	} while (moved);
	p->pages[0] = page;
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, zt_unlock_page, page), 0);
	zt_free_pages(p, 0, 1);
	KUNIT_ASSERT_EQ_MSG(test, read_poll_timeout(folio_test_waiters, waits, waits,
						    ZT_POLL_US, ZT_WAIT_US, false,
						    page_folio(page)),
			    0, "the worker does not come for the locked page");
	KUNIT_ASSERT_TRUE(test, PageZsmalloc(page));
}

static void zt_let_worker_go(struct kunit *test, struct zt_pages *p)
{
	kunit_release_action(test, zt_unlock_page, p->pages[0]);
	KUNIT_EXPECT_TRUE_MSG(test, zt_count_falls_to_0(p, ZT_WAIT_US),
			      "%u pages left", zt_count_pages(p));
}

/*
 * Above the bound, who frees objects frees the pages too. Meanwhile nothing of
 * what waits counts as used, so that a full pool can be filled again.
 */
static void zt_test_pending_bound(struct kunit *test)
{
	const unsigned int nr = 3 * ZT_MAX_PENDING;
	struct zt_pages *p = zt_create_pages(test, test->priv, nr);
	unsigned int count;

	zt_stop_worker(test, p);
	zt_free_pages(p, 1, nr - 1);
	count = zt_count_pages(p);

	KUNIT_EXPECT_EQ(test, zs_get_total_pages(p->set->pool), 0);
	KUNIT_EXPECT_LE(test, count, ZT_MAX_PENDING + 1);
	/* And below it they don't, but for the first in each jiffy */
	KUNIT_EXPECT_GE(test, count, ZT_MAX_PENDING / 2);
	zt_let_worker_go(test, p);
}

/*
 * Who frees swap entries may have interrupts off. They stay off, whether a zspage goes
 * to the worker or, above the bound, its pages are freed at once.
 */
static void zt_test_pending_irqs_off(struct kunit *test)
{
	const unsigned int nr = 2 * ZT_MAX_PENDING;
	unsigned int i, nr_irqs_on = 0;
	unsigned long flags;
	struct zt_pages *p;

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "PREEMPT_RT, where spinlocks sleep");

	p = zt_create_pages(test, test->priv, nr);
	zt_stop_worker(test, p);
	for (i = 1; i < nr; i++) {
		local_irq_save(flags);
		zt_free_pages(p, i, 1);
		nr_irqs_on += !irqs_disabled();
		local_irq_restore(flags);
	}

	KUNIT_EXPECT_EQ(test, nr_irqs_on, 0);
	KUNIT_EXPECT_EQ(test, zs_get_total_pages(p->set->pool), 0);
	/* It was in both ways */
	KUNIT_EXPECT_GT(test, zt_count_pages(p), 1);
	KUNIT_EXPECT_LE(test, zt_count_pages(p), ZT_MAX_PENDING + 1);
	zt_let_worker_go(test, p);
}

/* Few pages are freed too, and soon: a hundred times the delay is never late */
static void zt_test_pending_delay(struct kunit *test)
{
	struct zt_pages *p = zt_create_pages(test, test->priv, ZT_NR_FEW);

	zt_free_pages(p, 0, ZT_NR_FEW);
	KUNIT_EXPECT_EQ(test, zs_get_total_pages(p->set->pool), 0);
	KUNIT_EXPECT_TRUE_MSG(test, zt_count_falls_to_0(p, 100 * ZT_DELAY_US),
			      "%u pages left", zt_count_pages(p));
}

/* zs_compact() frees what waits, but for the locked page */
static void zt_test_pending_compact(struct kunit *test)
{
	struct zt_pages *p = zt_create_pages(test, test->priv, ZT_NR_FEW);

	zt_stop_worker(test, p);
	zt_free_pages(p, 1, ZT_NR_FEW - 1);
	KUNIT_EXPECT_GT(test, zt_count_pages(p), 1);
	zs_compact(p->set->pool);
	KUNIT_EXPECT_LE(test, zt_count_pages(p), 1);
	zt_let_worker_go(test, p);
}

/* Why a test can't take all of ZONE_DMA, as others may need it; NULL if it can */
static const char *zt_why_not_zone_dma(void)
{
	unsigned long nr_managed;
	struct page *page;

	if (!IS_ENABLED(CONFIG_ZONE_DMA))
		return "no ZONE_DMA";
	page = alloc_page(GFP_KERNEL | __GFP_DMA | __GFP_NOWARN);
	if (!page)
		return "no free page in ZONE_DMA";
	nr_managed = zone_managed_pages(page_zone(page));
	__free_page(page);
	if (nr_managed > min(ZT_MAX_ZONE_PAGES, totalram_pages() / ZT_MAX_ZONE_PART))
		return "ZONE_DMA is large";
	return NULL;
}

/* Take all pages that @gfp can get, down to the last one */
static void zt_take_zone(struct list_head *pages, gfp_t gfp)
{
	struct page *page;
	int order;

	for (order = MAX_PAGE_ORDER; order >= 0; order--) {
		while ((page = alloc_pages(gfp, order))) {
			set_page_private(page, order);
			list_add(&page->lru, pages);
		}
	}
}

static void zt_give_zone_back(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru)
		__free_pages(page, page_private(page));
}

/*
 * Where no page is free but what waits, zs_malloc() gets that. As nobody else should
 * miss memory meanwhile, this is in a zone that hardly anybody needs. To take its
 * reserves too, and as who swaps out does, the task is one that reclaims.
 */
static void zt_test_pending_malloc(struct kunit *test)
{
	struct zt_user *user = zt_create_user(test);
	const char *why_not = zt_why_not_zone_dma();
	unsigned int count, reclaims, nr = 0;
	struct zt_pages *p;
	LIST_HEAD(pages);

	if (why_not)
		kunit_skip(test, "%s", why_not);

	user->gfp = GFP_KERNEL | __GFP_DMA;
	p = zt_create_user_pages(test, user, ZT_NR_FEW);
	zt_stop_worker(test, p);
	zt_free_pages(p, 1, ZT_NR_FEW - 1);
	count = zt_count_pages(p) - 1;

	user->gfp = __GFP_DMA | __GFP_NOWARN;
	/* What one CPU has freed last is out of reach for the others */
	migrate_disable();
	reclaims = memalloc_noreclaim_save();
	zt_take_zone(&pages, user->gfp);
	while (nr < count && !zt_malloc(user, &p->set->objs[nr + 1], PAGE_SIZE))
		nr++;
	memalloc_noreclaim_restore(reclaims);
	migrate_enable();
	zt_give_zone_back(&pages);

	KUNIT_EXPECT_GT(test, count, 0);
	/* Others of this zone may have got some */
	KUNIT_EXPECT_GT(test, nr, count / 2);
	KUNIT_EXPECT_EQ(test, zs_get_total_pages(p->set->pool), nr);
	zt_check_set(test, user, p->set);
	zt_free_pages(p, 1, nr);
	zt_let_worker_go(test, p);
}

/* A pool takes what waits along */
static void zt_test_pending_destroy(struct kunit *test)
{
	struct zs_pool *pool = zs_create_pool("kunit-pending");
	struct zt_pages *p;
	unsigned int count;

	KUNIT_ASSERT_NOT_NULL(test, pool);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, zt_destroy_pool, pool), 0);
	p = zt_create_pages(test, pool, ZT_NR_FEW);

	zt_free_pages(p, 0, ZT_NR_FEW);
	count = zt_count_pages(p);
	kunit_release_action(test, zt_destroy_pool, pool);
	KUNIT_EXPECT_EQ(test, zt_count_pages(p), 0);
	/* Or it was for nothing: the worker can be that fast */
	if (!count)
		kunit_skip(test, "nothing waited when the pool was destroyed");
}

/*
 * The pool is destroyed by an action rather than by an exit function, as that
 * would be called before the actions that stop threads and free objects.
 */
static int zt_init(struct kunit *test)
{
	struct zs_pool *pool = zs_create_pool("kunit");

	if (!pool)
		return -ENOMEM;
	test->priv = pool;
	return kunit_add_action_or_reset(test, zt_destroy_pool, pool);
}

static const struct kunit_attributes zt_slow = {
	.speed = KUNIT_SPEED_SLOW,
};

static struct kunit_case zt_cases[] = {
	KUNIT_CASE_SLOW(zt_test_classes),
	KUNIT_CASE(zt_test_reuse),
	KUNIT_CASE(zt_test_bad_sizes),
	KUNIT_CASE(zt_test_bad_handles),
	KUNIT_CASE(zt_test_pending_bound),
	KUNIT_CASE(zt_test_pending_irqs_off),
	KUNIT_CASE(zt_test_pending_delay),
	KUNIT_CASE(zt_test_pending_compact),
	KUNIT_CASE(zt_test_pending_malloc),
	KUNIT_CASE(zt_test_pending_destroy),
	KUNIT_CASE_SLOW(zt_test_free_moving),
	KUNIT_CASE_PARAM_ATTR(zt_test_concurrent_own, zt_sizes_gen_params,
			      zt_slow),
	KUNIT_CASE_PARAM_ATTR(zt_test_concurrent_shared, zt_sizes_gen_params,
			      zt_slow),
	{}
};

static struct kunit_suite zt_suite = {
	.name = "zsmalloc",
	.init = zt_init,
	.test_cases = zt_cases,
};

kunit_test_suites(&obj_test_suite, &zt_suite);

MODULE_DESCRIPTION("KUnit tests of zsmalloc");
MODULE_LICENSE("GPL");
