"""Words of the view that leads to the page for phones."""

WORDS: dict[str, tuple[str, str]] = {
    "nav.phone": ("Phone", "Celular"),
    "phone.title": ("On a phone", "No celular"),
    "phone.what": (
        "A page with which a phone answers by itself, in its browser, without a network: with the bundle of this device, and "
        "the same answers. It is opened once from here, and can then be installed.",
        "Uma página com a qual o celular responde sozinho, no navegador, sem rede: com o pacote deste dispositivo e as mesmas "
        "respostas. Basta abri-la uma vez por aqui; depois ela pode ser instalada.",
    ),
    "phone.http": (
        "It cannot be opened from here: this page is served over http. Browsers keep the camera, the check of hashes and pages "
        "that work offline to https.",
        "Não é possível abri-la por aqui: esta página é servida por http. Os navegadores só liberam a câmera, a verificação "
        "de hashes e páginas que funcionam sem rede por https.",
    ),
    "phone.http.cure": (
        "Give the page a certificate, and start it with:",
        "Dê um certificado à página e inicie-a com:",
    ),
    "phone.making": (
        "The page is being made. It opens by itself, in a few seconds.",
        "A página está sendo preparada. Ela abre sozinha em alguns segundos.",
    ),
}
