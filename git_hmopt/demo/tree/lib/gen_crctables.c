// SPDX-License-Identifier: Apache-2.0
/* Runs at build time: prints the CRC of every byte, by the definition. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long u64;

/* Reflected: the polynomial's lowest bit is its highest power. */
static u64 reflected(u64 polynomial, unsigned int byte)
{
	u64 crc = byte;
	int bit;

	for (bit = 0; bit < 8; bit++)
		crc = (crc >> 1) ^ (crc & 1 ? polynomial : 0);
	return crc;
}

static u64 straight64(u64 polynomial, unsigned int byte)
{
	u64 crc = (u64)byte << 56;
	int bit;

	for (bit = 0; bit < 8; bit++)
		crc = (crc << 1) ^ (crc >> 63 ? polynomial : 0);
	return crc;
}

static void print_table(const char *type, const char *name, int bits,
			u64 (*entry)(u64, unsigned int), u64 polynomial)
{
	const unsigned int columns = bits == 64 ? 3 : 4;
	unsigned int i;

	printf("\nstatic const %s ____cacheline_aligned %s[256] = {\n", type,
	       name);
	for (i = 0; i < 256; i++)
		printf("%s0x%0*llx%s,%s", i % columns ? " " : "\t", bits / 4,
		       entry(polynomial, i), bits == 64 ? "ull" : "",
		       i % columns == columns - 1 || i == 255 ? "\n" : "");
	printf("};\n");
}

int main(int argc, char **argv)
{
	const char *width = argc == 2 ? argv[1] : "";

	printf("/* Made by lib/gen_crctables.c. */\n");
	if (strcmp(width, "32") == 0) {
		print_table("u32", "crc32_table", 32, reflected, 0xedb88320);
		print_table("u32", "crc32c_table", 32, reflected, 0x82f63b78);
	} else if (strcmp(width, "64") == 0) {
		print_table("u64", "crc64_table", 64, straight64,
			    0x42f0e1eba9ea3693ull);
	} else {
		fprintf(stderr, "usage: gen_crctables 32|64\n");
		return 2;
	}
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
