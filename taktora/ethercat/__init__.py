"""EtherCAT: connector, gateway, process image and the seam behind which SOEM or a simulated segment stands."""
