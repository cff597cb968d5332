/* Pages: an auditing library of the dynamic linker (rtld-audit(7)) that tells which shared objects are loaded
 * and has the kernel map their pages one by one.
 *
 * The kernel maps, with the page that is touched, those around it that it has in memory ("fault-around"), so what
 * is mapped says little of what was touched. It does not where a userfaultfd(2) watches for writes in its
 * asynchronous mode (Linux 6.7), in which nobody is ever asked or stopped: read-only pages have no writes. Then
 * /proc/PID/pagemap shows the pages that were touched. No signal handler, no changed protection, no split mapping.
 *
 * The linker calls la_objopen when an object is mapped, before it relocates it or looks for a symbol. All it has read
 * through its addresses is the head of the hash table, and even that may have mapped two megabytes. So what is mapped by
 * then is taken away again, which costs nothing but another look into the page cache.
 *
 * Nothing of a C library is used: an auditor has a copy of each of its own dependencies, and those would be files
 * that the function has not opened.
 *
 * What is noted goes to descriptor NOTES, a line each: "L <address> <name>" for each object, with the address that
 * its own are relative to; "U <errno> <step>", hexadecimal, where pages cannot be watched. That file begins with the
 * folders whose objects are watched, a line each with a slash at its end, and an empty line.
 */

typedef unsigned long word;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { NOTES = 1023, WATCH = 1000 }; /* descriptors; slimpack/runtime/sandbox.py has the first one, too */

/* linux/fcntl.h, linux/mman.h, linux/userfaultfd.h */
enum { O_CLOEXEC = 02000000, F_DUPFD_CLOEXEC = 1030, AT_FDCWD = -100, MADV_DONTNEED = 4, MADV_NOHUGEPAGE = 15 };
enum { UFFD_USER_MODE_ONLY = 1, UFFD_API = 0xAA, UFFD_FEATURE_WP_ASYNC = 1 << 15, UFFDIO_REGISTER_MODE_WP = 2 };
#define UFFDIO_API 0xC018AA3FUL
#define UFFDIO_REGISTER 0xC020AA00UL

struct uffdio_api { u64 api, features, ioctls; };
struct uffdio_register { u64 start, length, mode, ioctls; };

/* link.h: the public part */
struct link_map { word l_addr; char *l_name; void *l_ld; struct link_map *next, *previous; };

#if defined __x86_64__
enum { SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_ioctl = 16, SYS_pread64 = 17, SYS_madvise = 28,
       SYS_fcntl = 72, SYS_openat = 257, SYS_userfaultfd = 323 };

static long call(long number, long a, long b, long c, long d)
{
	long result;
	register long fourth __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined __aarch64__
enum { SYS_read = 63, SYS_write = 64, SYS_close = 57, SYS_ioctl = 29, SYS_pread64 = 67, SYS_madvise = 233,
       SYS_fcntl = 25, SYS_openat = 56, SYS_userfaultfd = 282 };

static long call(long number, long a, long b, long c, long d)
{
	register long first __asm__("x0") = a, second __asm__("x1") = b, third __asm__("x2") = c;
	register long fourth __asm__("x3") = d, eighth __asm__("x8") = number;
	__asm__ volatile("svc 0" : "+r"(first) : "r"(second), "r"(third), "r"(fourth), "r"(eighth) : "memory");
	return first;
}
#endif

static int watch = -1;        /* the userfaultfd */
static char folders[8192];
static char maps[1 << 16];    /* a piece of /proc/self/maps; the linker's lock is held while it is in use */

/* A line that is being put together; what does not fit is left out. */
struct line { u32 length; char text[4400]; };

static void add(struct line *line, char letter)
{
	if (line->length < sizeof line->text - 1)
		line->text[line->length++] = letter;
}

static void add_number(struct line *line, word number)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		if (number >> shift || shift == 0)
			add(line, "0123456789abcdef"[number >> shift & 15]);
}

static void tell(char kind, word number, const char *text)
{
	struct line line;
	line.length = 0;
	add(&line, kind);
	add(&line, ' ');
	add_number(&line, number);
	add(&line, ' ');
	for (; *text; text++)
		add(&line, (unsigned char)*text < ' ' ? '?' : *text);
	line.text[line.length++] = '\n';
	call(SYS_write, NOTES, (long)line.text, line.length, 0);
}

static int is_watched(const char *name)
{
	const char *at = folders;
	while (*at && *at != '\n') {
		u32 i = 0;
		while (at[i] == name[i] && name[i])
			i++;
		if (at[i] == '\n')
			return 1;
		while (*at && *at++ != '\n')
			;
	}
	return 0;
}

/* A line of /proc/PID/maps: "start-end perm offset device inode path". */
struct mapping { word start, end, device, inode; int read_only; };

static word number(const char **at, u32 base, char until)
{
	word found = 0;
	for (; **at && **at != until; ++*at) {
		u32 digit = **at <= '9' ? (u32)(**at - '0') : (u32)(**at - 'a' + 10);
		found = found * base + (**at == ':' ? 0 : digit); /* of a device, major and minor in one */
	}
	if (**at)
		++*at;
	return found;
}

static struct mapping parse(const char *at)
{
	struct mapping found;
	found.start = number(&at, 16, '-');
	found.end = number(&at, 16, ' ');
	found.read_only = at[0] == 'r' && at[1] == '-';
	at += 5;
	number(&at, 16, ' ');
	found.device = number(&at, 16, ' ');
	found.inode = number(&at, 10, ' ');
	return found;
}

static void watch_range(word start, word end)
{
	struct uffdio_register range = { start, end - start, UFFDIO_REGISTER_MODE_WP, 0 };
	long result;
	call(SYS_madvise, (long)start, (long)(end - start), MADV_NOHUGEPAGE, 0); /* a large page is not split up */
	result = call(SYS_ioctl, watch, UFFDIO_REGISTER, (long)&range, 0);
	if (result < 0)
		tell('U', (word)-result, "UFFDIO_REGISTER");
	else
		call(SYS_madvise, (long)start, (long)(end - start), MADV_DONTNEED, 0);
}

/* Watches the read-only mappings of the object at an address: the first file from there on, and no other is between
 * its mappings, for the linker has reserved all of the range. Memory without a file, as for .bss, may be. */
static void watch_object(word address)
{
	struct mapping now;
	word device = 0, inode = 0;
	u32 have = 0;
	int at_end = 0;
	long file = call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_CLOEXEC, 0), got;
	if (file < 0) {
		tell('U', (word)-file, "/proc/self/maps");
		return;
	}
	while (!at_end && (got = call(SYS_read, file, (long)(maps + have), sizeof maps - have, 0)) > 0) {
		u32 begin = 0;
		have += (u32)got;
		for (u32 i = 0; i < have && !at_end; i++) {
			if (maps[i] != '\n')
				continue;
			maps[i] = 0;
			now = parse(maps + begin);
			begin = i + 1;
			if (now.end <= address || !now.inode)
				continue;
			if (!inode) {
				device = now.device;
				inode = now.inode;
			}
			at_end = now.inode != inode || now.device != device;
			if (now.read_only && !at_end)
				watch_range(now.start, now.end);
		}
		have -= begin;
		for (u32 i = 0; i < have; i++)
			maps[i] = maps[begin + i];
	}
	call(SYS_close, file, 0, 0, 0);
}

__attribute__((visibility("default"))) u32 la_version(u32 version)
{
	struct uffdio_api api = { UFFD_API, UFFD_FEATURE_WP_ASYNC, 0 };
	const char *step = "userfaultfd";
	long high, result;
	call(SYS_pread64, NOTES, (long)folders, sizeof folders - 1, 0);
	result = watch = (int)call(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0, 0);
	if (watch >= 0) {
		step = "UFFDIO_API";
		result = call(SYS_ioctl, watch, UFFDIO_API, (long)&api, 0);
		if (result < 0) {
			call(SYS_close, watch, 0, 0, 0);
			watch = -1;
		}
	}
	if (result < 0)
		tell('U', (word)-result, step);
	else if ((high = call(SYS_fcntl, watch, F_DUPFD_CLOEXEC, WATCH, 0)) >= 0) {
		call(SYS_close, watch, 0, 0, 0); /* out of the way: files that the function opens have low numbers */
		watch = (int)high;
	}
	return version;
}

__attribute__((visibility("default"))) u32 la_objopen(struct link_map *map, long space, word *cookie)
{
	(void)space, (void)cookie;
	tell('L', map->l_addr, map->l_name ? map->l_name : "");
	if (watch >= 0 && map->l_name && is_watched(map->l_name))
		watch_object(map->l_addr);
	return 0;
}
