// SPDX-License-Identifier: GPL-2.0
/*
 * What a board's description is to uio_pdrv_genirq: a device that is not PCI, with its
 * registers and its interrupt.  Here the HPET, whose timers can be routed to GSI `gsi`.
 */
#include <linux/acpi.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uio_driver.h>

static unsigned long base = 0xfed00000, size = 0x400;
static unsigned int gsi = 23;
module_param(base, ulong, 0444);
module_param(size, ulong, 0444);
module_param(gsi, uint, 0444);

static struct uio_info info = { .name = "hpet", .version = "1" };
static struct platform_device *device;

static int __init board_init(void)
{
	struct resource registers = DEFINE_RES_MEM(base, size);
	int irq = acpi_register_gsi(NULL, gsi, ACPI_LEVEL_SENSITIVE, ACPI_ACTIVE_LOW);

	if (irq < 0)
		return irq;
	info.irq = irq;
	device = platform_device_register_resndata(NULL, "uio_pdrv_genirq", -1, &registers, 1,
						   &info, sizeof(info));
	return PTR_ERR_OR_ZERO(device);
}

static void __exit board_exit(void)
{
	platform_device_unregister(device);
	acpi_unregister_gsi(gsi);
}

module_init(board_init);
module_exit(board_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The HPET as a platform device for uio_pdrv_genirq");
